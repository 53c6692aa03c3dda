"""Take a document from a JSON value: a string, or an object with a string under the key."""

from __future__ import annotations

import json
from typing import Any

from data_tools.sources.block import SetAside
from data_tools.sources.faults import make_excerpt


class NotADocument(Exception):  # noqa: N818 - not an error of the program
    """A value cannot be a document; reason and detail are as in `SetAside`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def describe(self, line: int, raw: bytes, size: int) -> SetAside:
        """Return the description of the record."""
        return SetAside(line, self.reason, self.detail, make_excerpt(raw), size)


def parse_value(raw: bytes) -> object:
    """Return the value of a record in UTF-8.

    Raises:
        NotADocument: It is not valid JSON.
    """
    try:
        return json.loads(raw.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise NotADocument("bad JSON", f"{error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:  # a number or nesting beyond Python's limits
        raise NotADocument("bad JSON", str(error)) from None


def extract_text(value: Any, key: str) -> bytes:
    """Return the text of a value, or of its `key`, in UTF-8. null gives an empty text.

    Raises:
        NotADocument: There is no text, or it is not valid.
    """
    if isinstance(value, dict):
        if key not in value:
            names = ", ".join(make_excerpt(str(k).encode("utf-8", "replace")) for k in value)
            raise NotADocument("missing key", f"no key '{key}'; its keys are: {names[:300]}")
        value = value[key]
        what = f"'{key}'"
    else:
        what = "it"
    if value is None:
        return b""
    if isinstance(value, list):
        raise NotADocument("not a string", f"{what} is a list of {_count(value)}: a dialogue?")
    if not isinstance(value, str):
        raise NotADocument("not a string", f"{what} is of type {type(value).__name__}")
    try:
        text = value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(value[error.start]):04X}"
        raise NotADocument("lone surrogate", f"{code} at character {error.start}") from None
    if 0 in text:
        raise NotADocument("NUL character", f"at character {value.index(chr(0))}")
    return text


def _count(values: list[Any]) -> str:
    """Return how many values a list holds, and of what kind."""
    kinds: dict[type, str] = {str: "string", dict: "object"}
    names = {kinds.get(type(value)) or "value" for value in values}
    name = names.pop() if len(names) == 1 else "value"
    return f"{len(values)} {name}" + ("" if len(values) == 1 else "s")
