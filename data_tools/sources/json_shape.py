"""Find out what a JSON file holds: a value in each line, values over several lines, or one list.

The name of a file does not say it: lists are called .jsonl, and lines .json. The list may also be
the value of one key of an object, as in {"version": "1.0", "data": [...]}; then the keys beside it
may hold only numbers, short strings and the like, so that it is certain what the documents are.
"""

from __future__ import annotations

import json
import re
from typing import Any

from data_tools.sources.source import Format

PREFIX = 65_536
"""Characters in which the list of a file must begin."""

SPACES = " \t\n\r"
"""White space of JSON."""

_S = f"[{SPACES}]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*"'
_PLAIN = rf"(?:{_STRING}|-?[0-9][0-9.eE+-]*|true|false|null)"
_PAIR = rf"{_STRING}{_S}:{_S}{_PLAIN}{_S}"
_WRAPPED = re.compile(rf"\{{{_S}(?:{_PAIR},{_S})*({_STRING}){_S}:{_S}\[")
_TAIL = re.compile(_S)
_WRAPPED_TAIL = re.compile(rf"{_S}(?:,{_S}{_PAIR})*\}}{_S}")
_LINE_END = re.compile(r"\r\n|\n|\r")


def find_json_format(start: str, key: str, *, is_whole: bool, is_lines: bool) -> Format:
    """Return the format of a JSON file: json (one list), jsonl, or json values.

    Args:
        start: The beginning of the file.
        key: Key of the documents.
        is_whole: Whether `start` is the whole file.
        is_lines: Whether the name of the file promises a value in each line.
    """
    text = start.lstrip("\ufeff" + SPACES)
    lines = [line.strip(SPACES) for line in _LINE_END.split(text, 3)]
    if text.startswith("["):
        return "jsonl" if is_lines and _are_lists(lines) else "json"
    if not text.startswith("{"):
        return "jsonl"
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError:
        if _are_lines(lines):
            return "jsonl"
        return "json" if _opens_list(text, key, whole=None) else _find_values(lines)
    except (ValueError, RecursionError):
        return "jsonl"
    behind = text[end:].lstrip(SPACES)
    if not behind and is_whole and _opens_list(text, key, whole=value):
        return "json"
    first_line = text[end:].lstrip(" \t")[:1]
    is_line = len(_LINE_END.split(text[:end], 1)) == 1 and first_line in ("", "\n", "\r")
    return "jsonl" if is_line else "json values"


def find_prefix(start: str) -> int:
    """Return how many characters stand before the first element of a list, its bracket included.

    Args:
        start: The first `PREFIX` characters, without byte order mark and white space before them.
    """
    match = _WRAPPED.match(start[:PREFIX])
    return match.end() if match else int(start.startswith("["))


def make_tail(prefix: str) -> re.Pattern[str]:
    """Return what may stand behind the closing bracket of a list that begins with `prefix`."""
    return _WRAPPED_TAIL if prefix.startswith("{") else _TAIL


def _are_lists(lines: list[str]) -> bool:
    """Return whether each line is a list of its own."""
    if len(lines) < 2 or not (lines[1].startswith("[") and lines[0].endswith("]")):
        return False
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        return lines[1].endswith("]")
    return True


def _are_lines(lines: list[str]) -> bool:
    """Return whether the first lines are objects, one each, of which the first may be broken."""
    return len(lines) > 1 and lines[1].startswith("{") and lines[0] != "{"


def _find_values(lines: list[str]) -> Format:
    """Return whether the first value, which is broken, goes on behind its first line."""
    try:
        json.loads(lines[0])
    except json.JSONDecodeError as fault:
        is_cut = fault.pos >= len(lines[0]) and not fault.msg.startswith("Unterminated")
        return "json values" if is_cut and len(lines) > 1 else "jsonl"
    except (ValueError, RecursionError):
        pass
    return "jsonl"


def _opens_list(text: str, key: str, *, whole: Any) -> bool:
    """Return whether the file is one object that holds the list of documents.

    Args:
        text: Its beginning.
        key: Key of the documents.
        whole: The object, None if its end is not in `text` or it is broken.
    """
    match = _WRAPPED.match(text[:PREFIX])
    if match is None:
        return False
    try:
        name = json.loads(match[1])
        first, end = json.JSONDecoder().raw_decode(text, skip_space(text, match.end()))
    except (ValueError, RecursionError):
        return False
    if name == key or not _is_document(first, key):
        return False
    if whole is None:
        return text[skip_space(text, end) :][:1] in (",", "]")
    parts = [value for value in whole.values() if isinstance(value, (list, dict))]
    return key not in whole and len(parts) == 1


def _is_document(value: Any, key: str) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and key in value)


def skip_space(text: str, at: int) -> int:
    """Return the position behind white space."""
    match = _TAIL.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()
