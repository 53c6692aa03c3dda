"""The wanted column is found by what a person sees; a message offers only what can be typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.sources.column import find_column, find_place, show_name
from gpt2zh.config.errors import UserError

ALIKE = [
    "content\u200b",
    "\ufeffcontent",
    "\u200fcontent",
    "\xa0content ",
    "content\t",
    "\u3000content",
    "\uff43ontent",
    "con\u2060tent",
]


@pytest.mark.parametrize("name", ALIKE)
def test_names_that_look_alike_match_when_only_one_does(name: str) -> None:
    assert find_place(["id", name], "content") == 1
    assert find_place(["id", "content"], name) == 1
    assert find_place([name, "content"], "content") == 1, "the exact name wins"
    assert find_place([name, "content  "], "content") is None
    with pytest.raises(UserError, match=r"a\.csv has 2 columns named 'content'.*rename all but"):
        find_column([name, "content  "], "content", Path("a.csv"))


@pytest.mark.parametrize("name", ["Content", "contents", "con tent", "内容"])
def test_names_that_look_different_do_not_match(name: str) -> None:
    assert find_place(["id", name], "content") is None


def refusal(names: list[str], column: str = "content", kind: str = "column") -> str:
    with pytest.raises(UserError) as caught:
        find_column(names, column, Path("a.csv"), kind=kind)
    return str(caught.value)


def test_a_key_must_be_exact_and_is_offered_as_bash_takes_it() -> None:
    message = refusal(["id", "content\u200b"], kind="key")
    assert r"its keys are: id, content\u200b" in message
    assert r"did you mean --content-column $'content\u200b'?" in message


@pytest.mark.parametrize(
    ("names", "cure"),
    [
        (["id", "Content"], "did you mean --content-column Content?"),
        (["id", "my content"], "did you mean --content-column 'my content'?"),
        (["id", "content(新)"], "did you mean --content-column 'content(新)'?"),
        (["id", "content 新"], "did you mean --content-column 'content 新'?"),
        (["id", "content$新"], "did you mean --content-column 'content$新'?"),
        (["id", "content新"], "did you mean --content-column content新?"),
        (["编号", "正文"], "choose one with --content-column"),
        (["id;content"], "rename the one that holds the text"),
        (["id\tcontent", "contents"], "did you mean --content-column contents?"),
    ],
)
def test_no_name_that_holds_a_delimiter_is_offered(names: list[str], cure: str) -> None:
    assert refusal(names).endswith(cure)


def test_names_are_shown_with_what_cannot_be_seen() -> None:
    assert [show_name(name) for name in ("id", "内容", "a\xa0b", " a", "a\x1b[1m\n", "")] == [
        "id", "内容", "a\\u00a0b", "' a'", "a\\x1b[1m\\n", "''",
    ]  # fmt: skip
