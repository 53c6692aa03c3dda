"""Nothing that a terminal or a disk cannot take ends a command."""

from __future__ import annotations

import ast
import io
import locale
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import LIMIT

from gpt2zh.config import console
from gpt2zh.config.console import prepare_output
from gpt2zh.config.errors import UserError

ROOT = Path(__file__).parents[2]
TEXT = "step 1 | \u6625\u7720\u4e0d\u89c9\u6653 \U0001f409 \u20ac"


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], io.BytesIO]:
    """Let stdout write bytes of an encoding, as a terminal would ask for."""

    def use(encoding: str, errors: str = "strict") -> io.BytesIO:
        raw = io.BytesIO()
        wrapper = io.TextIOWrapper(raw, encoding=encoding, errors=errors, write_through=True)
        monkeypatch.setattr(sys, "stdout", wrapper)
        return raw

    return use


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii", "cp1252", "big5", "utf-8"])
def test_every_text_can_be_printed_on_every_terminal(
    stream: Callable[[str, str], io.BytesIO], encoding: str
) -> None:
    raw = stream(encoding, "strict")
    prepare_output()
    print(TEXT, "\udcff")
    shown = raw.getvalue().decode(encoding)
    assert shown.startswith("step 1 | ") and "\\udcff" in shown
    assert "\u6625" in shown or "\\u6625" in shown


def test_what_an_encoding_has_is_shown_as_it_is(
    stream: Callable[[str, str], io.BytesIO],
) -> None:
    raw = stream("gbk", "strict")
    prepare_output()
    print("\u6625\u7720 \U0001f409")
    assert raw.getvalue().decode("gbk").rstrip() == "\u6625\u7720 \\U0001f409"


@pytest.mark.parametrize(
    ("encoding", "errors", "after"),
    [
        ("utf-8", "surrogateescape", "surrogateescape"),  # a file name comes out as it went in
        ("ascii", "surrogateescape", "backslashreplace"),
        ("gbk", "replace", "replace"),  # PYTHONIOENCODING=gbk:replace
        ("utf-8", "strict", "backslashreplace"),
    ],
)
def test_only_handlers_that_raise_errors_are_replaced(
    stream: Callable[[str, str], io.BytesIO], encoding: str, errors: str, after: str
) -> None:
    stream(encoding, errors)
    prepare_output()
    assert sys.stdout.errors == after


@pytest.fixture
def latin(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A locale that is not UTF-8, and the names of those that were tried instead."""
    tried: list[str] = []
    encoding = ["ISO-8859-1"]

    def setlocale(category: int, name: str) -> str:
        tried.append(name)
        if name not in known:
            raise locale.Error("unsupported locale setting")
        encoding[0] = "UTF-8"
        return name

    known = {"en_US.UTF-8"}
    monkeypatch.setattr(console.locale, "getpreferredencoding", lambda _: encoding[0])
    monkeypatch.setattr(console.locale, "setlocale", setlocale)
    monkeypatch.delenv("PYTHONUTF8", raising=False)
    yield tried
    os.environ.pop("PYTHONUTF8", None)


@pytest.mark.skipif(sys.flags.utf8_mode, reason="Python ignores the locale in UTF-8 mode")
def test_files_are_read_as_utf8_whatever_the_locale(latin: list[str]) -> None:
    prepare_output()
    assert latin[-1] == "en_US.UTF-8" and os.environ["PYTHONUTF8"] == "1"


@pytest.mark.skipif(sys.flags.utf8_mode, reason="Python ignores the locale in UTF-8 mode")
def test_a_system_without_utf8_is_refused_with_the_cure(
    latin: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_UTF8_LOCALES", ("C.UTF-8",))
    with pytest.raises(UserError, match=r"ISO-8859-1, .*`export PYTHONUTF8=1`"):
        prepare_output()


PRINT = """
import os, sys
from gpt2zh.config.console import drop_lost_output, prepare_output
drop_lost_output()
drop_lost_output()
prepare_output()
print("first", flush=True)
sys.stdin.readline()
for _ in range(3):
    print("lost " * 9999, flush=True)
    print("lost", file=sys.stderr)
os.write(int(sys.argv[1]), b"alive")
"""


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["full", "closed"])
def test_lines_that_cannot_be_printed_end_nothing(lost: str) -> None:
    """Not even by the exit code: Python ends with 120 when its last flush fails."""
    reader, writer = os.pipe()
    with open("/dev/full", "wb") as full:
        output = full if lost == "full" else subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", PRINT, str(writer)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writer,),
        )
    os.close(writer)
    if lost == "closed":
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    with os.fdopen(reader, "rb") as alive:
        assert alive.read() == b"alive"
    assert process.wait(LIMIT) == 0


@pytest.mark.slow
def test_lines_come_out_whole_and_in_order() -> None:
    code = (
        "import sys\nfrom gpt2zh.config.console import drop_lost_output\n"
        "print('before')\ndrop_lost_output()\nprint('after')\nprint('error', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("before\nafter\n", "error\n")


@pytest.mark.slow
def test_a_stream_that_closes_its_descriptor_is_kept() -> None:
    code = (
        "import gc, os, sys\nfrom gpt2zh.config.console import drop_lost_output\n"
        "sys.__stdout__ = sys.__stderr__ = None\n"
        "sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w')\n"
        "drop_lost_output()\ngc.collect()\nprint('shown')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "shown\n"


def test_output_that_a_test_or_a_notebook_captures_stays_captured(
    capsys: pytest.CaptureFixture,
) -> None:
    before = sys.stdout
    console.drop_lost_output()
    assert sys.stdout is before


STARTS = {"run_verbs", "launch"}
"""What begins with `prepare_output`, and is called by the `main` of each entry point."""


def test_every_entry_point_prepares_its_output() -> None:
    for path in ("gpt2zh/config/verbs.py", "gpt2zh/acts/launch.py", "benchmarks/harness/cli.py"):
        assert "prepare_output()" in (ROOT / path).read_text("utf-8")
    assert "prepare_output()" in (ROOT / "data_tools/prepare/workers.py").read_text("utf-8")
    folders = ("gpt2zh", "data_tools", "launcher", "benchmarks")
    entries = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "if __name__ == " in path.read_text("utf-8")
    ]
    assert len(entries) > 8
    for path in entries:
        called = {
            node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name))
        }
        begins = called & STARTS or "Benchmark" in called
        imports_main = "from gpt2zh.acts.pretrain import main" in path.read_text("utf-8")
        assert begins or imports_main, path
