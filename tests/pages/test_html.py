"""Pages: everything is escaped, what is missing is an error, and a wheel has the templates."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from gpt2zh.pages.html import Table, render
from gpt2zh.pages.plots import Bar, Caption, bars

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert('x')</script>\"&\0\x1b[31m"
SHOWN = "<script>alert('x')</script>\"&\\u0000\\u001b[31m"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of templates of a new package `drawn`."""
    folder = tmp_path / "drawn" / "templates"
    folder.mkdir(parents=True)
    (tmp_path / "drawn" / "__init__.py").write_text("", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "drawn", raising=False)
    return folder


def drawn(package: Path, body: str, **values: object) -> ElementTree.Element:
    (package / "x.html").write_text(f"<x>{{% import 'parts.html' as parts %}}{body}</x>", "utf-8")
    return ElementTree.fromstring(render("x.html", package="drawn", **values))


def test_values_are_escaped_as_text_and_as_attributes(package: Path) -> None:
    page = drawn(package, "<p title='{{ evil }}'>{{ evil }}</p>", evil=EVIL)
    (inner,) = page
    assert inner.text == inner.get("title") == SHOWN and not len(inner)


def test_every_part_escapes_what_it_is_given(package: Path) -> None:
    page = drawn(
        package,
        "{{ parts.table(table) }}{{ parts.figure(figure) }}{{ parts.tiles([(evil, evil)]) }}"
        "{{ parts.legend([('blue', evil)]) }}"
        "{% call parts.folded(evil) %}{{ evil }}{% endcall %}"
        "{% call parts.section('key', evil) %}{{ evil }}{% endcall %}",
        evil=EVIL,
        table=Table([EVIL, EVIL], [[EVIL, EVIL]]),
        figure=bars(Caption("key", EVIL, EVIL), [Bar(EVIL, 1, EVIL)]),
    )
    assert not list(page.iter("script"))
    texts = [text.strip() for text in page.itertext() if text.strip()]
    assert texts.count(SHOWN) >= 14
    assert all("\0" not in text and "\x1b" not in text for text in texts)


def test_a_table_marks_text_numbers_and_sums(package: Path) -> None:
    table = Table(["name", "kind", "n"], [["all", "", "3"], ["a", "x", "1"]], left=2, sums=(0,))
    page = drawn(package, "{{ parts.table(table) }}", table=table)
    first, second = (row for row in page.iter("tr") if row.find("th[@scope='row']") is not None)
    assert first.get("class") == "sum" and second.get("class") is None
    assert [(cell.tag, cell.get("class"), cell.text) for cell in second] == [
        ("th", "left", "a"),
        ("td", "left", "x"),
        ("td", None, "1"),
    ]


def test_coordinates_are_short(package: Path) -> None:
    assert drawn(package, "{{ x }} {{ y }} {{ n }}", x=1 / 3, y=2.0, n=10).text == "0.33 2 10"


def test_a_page_names_its_sections_and_forbids_the_network(package: Path) -> None:
    (package / "y.html").write_text(
        "{% extends 'page.html' %}{% set title = evil %}{% set sections = {'a': evil} %}"
        "{% block main %}<p>text</p>{% endblock %}",
        "utf-8",
    )
    text = render("y.html", package="drawn", evil=EVIL)
    page = ElementTree.fromstring(text)
    assert text.startswith("<!DOCTYPE html>\n") and page.findtext(".//title") == SHOWN
    (link,) = page.iter("a")
    assert link.get("href") == "#a-section" and link.text == SHOWN
    assert "default-src 'none'" in [meta.get("content", "")[:18] for meta in page.iter("meta")]
    assert "prefers-color-scheme: dark" in page.findtext(".//style", "")


def test_a_name_that_nobody_gave_is_an_error(package: Path) -> None:
    with pytest.raises(UndefinedError, match="'absent' is undefined"):
        drawn(package, "{{ absent }}")
    with pytest.raises(UndefinedError, match="no attribute 'absent'"):
        drawn(package, "{{ value.absent }}", value=Table([], []))


def test_none_is_never_shown(package: Path) -> None:
    with pytest.raises(AssertionError, match="None"):
        drawn(package, "{{ value }}", value=None)


def test_a_template_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TemplateNotFound, match=r"none\.html"):
        render("none.html")


@pytest.mark.slow
def test_a_wheel_has_every_file_that_is_not_python() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    packed = {
        path
        for name, patterns in config["options.package_data"].items()
        for pattern in patterns.split()
        for path in (ROOT / name.replace(".", "/")).glob(pattern)
    }
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "gpt2zh", "data_tools"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = {ROOT / name for name in listed.stdout.splitlines() if not name.endswith(".py")}
    assert {path for path in files if path.exists()} == packed
    assert ROOT / "gpt2zh/pages/templates/page.html" in packed


@pytest.mark.slow
def test_pages_import_no_heavy_library() -> None:
    code = (
        "import sys, gpt2zh.pages.html, gpt2zh.pages.plots, gpt2zh.pages.console\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "deepspeed", "numpy", "pyarrow", "data_tools"}
    assert not heavy & set(done.stdout.split())
