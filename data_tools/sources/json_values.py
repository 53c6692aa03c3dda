"""What a JSON value must be to become a document: a string, or an object that holds one."""

from __future__ import annotations

from typing import Any

from data_tools.sources.block import SetAside
from data_tools.sources.faults import excerpt


class NoDocument(Exception):  # noqa: N818 - it is no error of the program
    """A value that is none; reason and detail are as in `SetAside`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def aside(self, line: int, raw: bytes, size: int) -> SetAside:
        """Return what is told of the record."""
        return SetAside(line, self.reason, self.detail, excerpt(raw), size)


def document_of(value: Any, key: str) -> bytes:
    """Return the text of a value, or of its `key`, in UTF-8; of null an empty one.

    Raises:
        NoDocument: It is or holds none.
    """
    if isinstance(value, dict):
        if key not in value:
            names = ", ".join(excerpt(str(k).encode("utf-8", "replace")) for k in value)
            raise NoDocument("missing key", f"no key '{key}'; its keys are: {names[:300]}")
        value = value[key]
        what = f"'{key}'"
    else:
        what = "it"
    if value is None:
        return b""
    if not isinstance(value, str):
        raise NoDocument("not a string", f"{what} is of type {type(value).__name__}")
    try:
        text = value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(value[error.start]):04X}"
        raise NoDocument("lone surrogate", f"{code} at character {error.start}") from None
    if 0 in text:
        raise NoDocument("NUL character", f"at character {value.index(chr(0))}")
    return text
