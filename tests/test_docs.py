"""The READMEs and docs/: their links, commands, sizes, and that both languages say the same."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import documents
import pytest
import yaml
from documents import LANGUAGES, READMES, ROOT, name_of

import data_tools.__main__ as data_tools
import gpt2zh.__main__ as gpt2zh
from gpt2zh.config.cli import leaves, parse
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.config.verbs import Verb, run_verbs

PAGES = documents.every_page()
LAUNCHER = {"--num_gpus", "--num_accelerators", "--master_port", "--quiet"}  # DeepSpeed's own
FOREIGN = LAUNCHER | {"--constraint", "--index-url", "--install", "--logdir", "--help"}
FOREIGN_PROGRAMS = {"git", "cd", "source", "pip", "sbatch", "echo", "tensorboard", "wsl"}
VERBS: dict[str, Sequence[Verb]] = {"gpt2zh": gpt2zh.VERBS, "data_tools": data_tools.VERBS}
MOST_BYTES, MOST_LINES, MOST_BYTES_OF_A_PAGE = 9_000, 170, 12_000

# English in Chinese characters: write such a sentence again from what it must say.
TRANSLATED = (
    *("训练方法值多少", "曲线在三分之一处结束", "从不等待", "编译不了就不编译地运行"),
    *("不是有限数", "权重见过", "能证明的，已经证明", "被用来", "进行训练", "的情况下"),
)


def read(path: Path) -> str:
    return path.read_text("utf-8")


# What both languages have


def test_both_trees_have_the_same_pages() -> None:
    english, chinese = (documents.pages(language) for language in LANGUAGES)
    assert len(english) > 10
    assert english.keys() == chinese.keys()


@pytest.mark.parametrize("name", documents.pages("en"))
def test_a_page_has_the_same_headings_blocks_and_commands_in_both_languages(name: str) -> None:
    english, chinese = (read(documents.pages(language)[name]) for language in LANGUAGES)
    both = [documents.blocks(text) for text in (english, chinese)]
    assert [block.language for block in both[0]] == [block.language for block in both[1]]
    for ours, theirs in zip(*both, strict=True):
        assert ours.language in ("bash", "text")
        if ours.language == "bash":
            assert documents.commands(ours) == documents.commands(theirs)
    levels = [
        re.findall(r"^#+ ", documents.prose(text), re.MULTILINE) for text in (english, chinese)
    ]
    assert levels[0] == levels[1]
    tables = [len(re.findall(r"^\|", text, re.MULTILINE)) for text in (english, chinese)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_site_shows_every_page_and_loads_nothing_from_elsewhere(language: str) -> None:
    config = yaml.safe_load(read(ROOT / "docs" / f"mkdocs.{language}.yml"))
    shown = [page for entry in config["nav"] for page in entry.values()]
    assert sorted(shown) == sorted(documents.pages(language).keys() - {"README"})
    assert config["theme"]["font"] is False
    assert config["theme"]["language"] == config["docs_dir"] == language
    assert config["plugins"] == ["search"]


def test_both_sites_differ_in_language_alone() -> None:
    english, chinese = (yaml.safe_load(read(ROOT / f"docs/mkdocs.{x}.yml")) for x in LANGUAGES)
    orders = [
        [page for entry in x.pop("nav") for page in entry.values()] for x in (english, chinese)
    ]
    assert orders[0] == orders[1]
    assert yaml.safe_dump(english).replace("en\n", "zh\n") == yaml.safe_dump(chinese)


# The READMEs


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_readme_is_read_in_one_sitting(language: str) -> None:
    path = READMES[language]
    assert path.stat().st_size <= MOST_BYTES
    assert len(read(path).splitlines()) <= MOST_LINES
    assert all(page.stat().st_size <= MOST_BYTES_OF_A_PAGE for page in PAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_readme_begins_with_picture_sample_and_status(language: str) -> None:
    text = read(READMES[language])
    name, _, sentence, _, languages, _, picture = text.splitlines()[:7]
    assert name == "# gpt2zh" and len(sentence) < 180
    assert "|" in languages and picture.startswith("![")
    assert len(documents.blocks(text)[0].text.splitlines()) == 6
    assert text.index("\n> ") < text.index("\n## ")  # the status stands before all sections


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_figure_of_the_readme_stands_on_the_page_that_it_links_to(language: str) -> None:
    text = read(READMES[language])
    bullets = re.findall(r"^- \*\*.+\[.+\]\((.+)\)$", text, flags=re.MULTILINE)
    lines = re.findall(r"^- \*\*.+$", text, flags=re.MULTILINE)
    assert len(bullets) == len(lines) == 5
    for line, page in zip(lines, bullets, strict=True):
        numbers = re.findall(r"\d[\d,.]*\d|\d", line.partition("](")[0])
        assert numbers
        assert [number for number in numbers if number not in read(ROOT / page)] == [], line


def test_the_commands_of_ci_stand_in_the_readmes() -> None:
    wanted = re.findall(r"^make .*$", read(ROOT / ".ci" / "run"), flags=re.MULTILINE)
    assert wanted
    for path in READMES.values():
        assert [command for command in wanted if command not in read(path)] == []


# Links


def missing_links(page: Path) -> list[str]:
    """List the links of a page that lead nowhere; links out of the project are not followed."""
    missing = []
    for link in documents.links(read(page)):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place) if place else page
        is_page = target.is_file()
        if not is_page or (anchor and anchor not in documents.anchors(read(target))):
            missing.append(link)
    return missing


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert missing_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A B\n[a](page.md#a-b) [b](#c) [c](gone.md) `[d](no-link)`\n", "utf-8")
    assert missing_links(page) == ["#c", "gone.md"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_link_inside_their_own_tree(language: str) -> None:
    """mkdocs builds each tree alone."""
    folder = ROOT / "docs" / language
    for page in folder.rglob("*.md"):
        inner = [link for link in documents.links(read(page)) if "://" not in link]
        assert all((page.parent / link.partition("#")[0]).is_relative_to(folder) for link in inner)
        assert not any(".." in link for link in inner)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_linked_from_the_index_and_the_readme(language: str) -> None:
    index = ROOT / "docs" / language / "index.md"
    names = documents.pages(language).keys() - {"README", "index.md"}
    assert names <= set(documents.links(read(index)))
    linked = {Path(link).name for link in documents.links(read(READMES[language]))}
    assert names - linked == set()


# Commands


def check_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Parse a command line of the documents as the program that it starts would."""
    _, words = documents.split(command.replace("$MODEL", "runs/small/checkpoint-36000"))
    if not words or words[0] in FOREIGN_PROGRAMS:
        return
    if words[0] == "deepspeed":
        script = words.index("launcher/pretrain.py")
        assert {word for word in words[1:script] if word.startswith("--")} <= LAUNCHER, command
        if "--help" not in words:
            parse(PretrainConfig, LaunchOptions, argv=words[script + 1 :], prog=words[script])
    elif words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert all(f"\n{target}:" in read(ROOT / "Makefile") for target in targets), command
    elif words[0] == "bash":
        assert (ROOT / words[1]).is_file(), command
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        check_benchmark(words[2], words[3:])
    else:
        assert words[0] == "gpt2zh" or words[:3] == ["python", "-m", "data_tools"], command
        program = words[0] if words[0] == "gpt2zh" else words[2]
        rest = words[1:] if words[0] == "gpt2zh" else words[3:]
        verbs = [dataclasses.replace(verb, run="documents:accept") for verb in VERBS[program]]
        code = run_verbs(prog=program, description="", verbs=verbs, argv=rest)
        assert code == 0, f"{command}: {capsys.readouterr().err}"


def check_benchmark(module: str, arguments: Sequence[str]) -> None:
    """Find the options of a benchmark in its text: to parse them would start the measurement."""
    found = importlib.util.find_spec(module)
    assert found and found.origin, module
    origin = Path(found.origin)
    files = origin.parent.glob("*.py") if origin.name == "__init__.py" else [origin]
    text = "".join(map(read, files))
    for option in (word for word in arguments if word.startswith("--")):
        assert f'"{option}"' in text, f"{module} has no option {option}"


def bash_commands(page: Path) -> list[str]:
    bash = [block for block in documents.blocks(read(page)) if block.language == "bash"]
    return [command for block in bash for command in documents.commands(block)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_parse(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for command in bash_commands(page):
        check_command(command, capsys)


STARTS = ("gpt2zh ", "python -m data_tools ", "python -m benchmarks.", "make ", "bash ")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_whole_commands_inside_sentences_parse(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    names = {f"gpt2zh {verb.name}" for verb in gpt2zh.VERBS}
    for span in documents.spans(read(page)):
        is_whole = span.startswith(STARTS) and "..." not in span
        if is_whole and span not in names:
            check_command(span, capsys)


def known_options() -> set[str]:
    """Return the options of all our commands."""
    schemas = [PretrainConfig, LaunchOptions]
    for verbs in VERBS.values():
        for verb in verbs:
            schemas += verb.config if isinstance(verb.config, tuple) else (verb.config,)
    names = {name for schema in schemas for name, _ in leaves(schema)}
    return {f"--{name.replace('_', '-')}" for name in {*names, "config"}}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_in_sentences_exist(page: Path) -> None:
    known = (
        known_options() | {option.replace("_", "-") for option in FOREIGN} | {"--arms", "--small"}
    )
    used = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", " ".join(documents.spans(read(page)))))
    assert {option for option in used if option.replace("_", "-") not in known} == set()


@pytest.mark.parametrize(
    "command",
    [
        "gpt2zh generate --model x --temprature 1",
        "python -m data_tools prepare --input x",
        "python -m benchmarks.prepare --inputs x",
        "deepspeed --gpus 2 launcher/pretrain.py --data x --output y",
        "make everything",
    ],
)
def test_a_wrong_command_is_found(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        check_command(command, capsys)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tables_list_every_preset(language: str) -> None:
    table = read(ROOT / "docs" / language / "configuration.md")
    files = [
        path.name for folder in ("configs", "ds_configs") for path in (ROOT / folder).iterdir()
    ]
    assert len(files) > 10
    assert [name for name in files if f"| `{name}` |" not in table] == []


# Chinese


@pytest.mark.parametrize("page", documents.pages("zh").values(), ids=name_of)
def test_chinese_sentences_stand_on_one_line(page: Path) -> None:
    """A line break between two characters shows as a space."""
    assert list(documents.broken_lines(read(page))) == []


@pytest.mark.parametrize("page", documents.pages("zh").values(), ids=name_of)
def test_chinese_pages_are_not_translated_word_for_word(page: Path) -> None:
    assert [phrase for phrase in TRANSLATED if phrase in read(page)] == []


def test_a_broken_chinese_line_is_found() -> None:
    assert list(documents.broken_lines("# A\n\n一行\n二行\n\n- 甲\n- 乙\n  丙\n")) != []
    assert (
        list(documents.broken_lines("# 标题\n\n一行\n\n- 甲\n- 乙\n\n```text\n丙\n丁\n```\n")) == []
    )


# The picture


def test_the_picture_is_a_valid_svg() -> None:
    picture = ROOT / "docs" / "demo-curve.svg"
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert picture.stat().st_size < 10_000 and "http://www.w3.org/2000/svg" in read(picture)
    assert "href" not in read(picture)
