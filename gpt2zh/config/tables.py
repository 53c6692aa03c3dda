"""Read YAML and JSON that people write: UTF-8 with or without a byte order mark, each key once.

The parsers would silently use the last one of two equal keys, so an option that stands further up
would be lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gpt2zh.config.errors import UserError, raise_all

_MERGE = "tag:yaml.org,2002:merge"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:\n]')
_FIRST_LINE, _SHOWN = 1, 20


def load_yaml(path: Path, name: str) -> Any:
    """Return what a YAML file holds.

    Args:
        path: The file.
        name: How messages name it.

    Raises:
        UserError: It is not UTF-8 or not valid YAML, or a key is written twice.
        OSError: It cannot be read.
    """
    text = _read(path, name, "YAML")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse(list(_repeated_in_yaml(node)) if node else [], name, "YAML")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name} is not valid YAML: {error}") from error


def load_json(path: Path, name: str) -> Any:
    """Return what a JSON file holds; arguments and errors as for `load_yaml`."""
    return parse_json(_read(path, name, "JSON"), name)


def parse_json(text: str, name: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        UserError: It is not valid JSON, or a key is written twice.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not valid JSON: {error}") from error
    _refuse(list(_repeated_in_json(text)), name, "JSON")
    return table


def _read(path: Path, name: str, language: str) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not valid {language}: it is not UTF-8 text ({error}); save it as UTF-8"
        ) from error


def _refuse(repeated: list[tuple[str, int, int]], name: str, language: str) -> None:
    """Refuse keys that are written twice, given as (dotted key, line, line)."""
    faults = [
        f"{name}: the key '{key}' is written twice, in "
        + (f"line {first}" if first == second else f"lines {first} and {second}")
        + f"; {language} would silently use the last one, so a key must be written once: remove "
        "one of them, or join what stands below both"
        for key, first, second in sorted(repeated, key=lambda one: one[2])[:_SHOWN]
    ]
    raise_all(faults, f"{name} has keys that are written twice")


def _repeated_in_yaml(root: yaml.Node) -> Iterator[tuple[str, int, int]]:
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        prefix, node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{prefix}{n}.", item) for n, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                text = str(key.value) if isinstance(key, yaml.ScalarNode) else "..."
                line = key.start_mark.line + _FIRST_LINE
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    if (key.tag, text) in lines:
                        yield prefix + text, lines[key.tag, text], line
                    lines[key.tag, text] = line
                waiting.append((f"{prefix}{text}.", value))


def _repeated_in_json(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the keys of a valid JSON text that are written twice."""
    line = _FIRST_LINE
    key = ""
    names: list[str] = []  # keys of the objects around
    tables: list[dict[str, int] | None] = []  # lines of their keys; None for a list
    is_key = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "{[":
            names.append(key)
            tables.append({} if token == "{" else None)
            is_key = token == "{"
        elif token in "}]":
            tables.pop()
            names.pop()
        elif token == ",":
            is_key = tables[-1] is not None
        elif token != ":" and is_key:
            key, is_key = json.loads(token), False
            table = tables[-1]
            assert table is not None
            if key in table:
                yield ".".join([*filter(None, names), key]), table[key], line
            table[key] = line
