"""The READMEs and the pages of docs/, taken apart into links, headings, paragraphs and commands."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "zh")
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh.md"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str


def pages(language: str) -> dict[str, Path]:
    """Return the pages of one tree by their names, and README under the name README."""
    found = {path.name: path for path in (ROOT / "docs" / language).rglob("*.md")}
    return {"README": READMES[language], **found}


def every_page() -> list[Path]:
    """Return all documents for users in both languages."""
    return [path for language in LANGUAGES for path in pages(language).values()]


def name_of(path: Path) -> str:
    """Return a path as tests name it."""
    return path.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(match[1], match[2]) for match in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """Return the code spans of the prose of a page, each in one line."""
    return [" ".join(found.split()) for found in _CODE.findall(prose(text))]


def commands(block: Block) -> list[str]:
    """Return the command lines of a block of bash, comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    return re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_lines(text: str) -> Iterator[str]:
    """Yield where a paragraph goes on in the next line; it shows as a space between characters."""
    lines = prose(text).splitlines()
    for line, following in itertools.pairwise(lines):
        is_text = bool(line.strip()) and line[0] not in "#|<"
        goes_on = bool(following.strip()) and not re.match(r"[#|<>]|- |\d+\. ", following)
        if is_text and goes_on:
            yield f"{line[-20:]} / {following[:20]}"


def split(command: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a command line sets at its beginning, and its words."""
    words = shlex.split(command)
    first = next((place for place, word in enumerate(words) if "=" not in word), len(words))
    return dict(word.split("=", 1) for word in words[:first]), words[first:]


def accept(*configs: object) -> int:
    """Take the place of what a verb runs: its options were parsed, that is all."""
    assert configs
    return 0
