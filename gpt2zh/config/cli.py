"""Parse dataclasses from the command line: defaults, then a YAML file, then flags.

jsonargparse parses values, checks types and makes the help from the string under each field; a
parser of our own would be one more thing to maintain. This module adds what it lacks: an error for
an unknown key names the nearest known one, `--dry-run` equals `--dry_run`, a bare `--overwrite`
means true, and a field of several texts takes several values.

Configs are YAML files of plain values, not Python: they can be compared, and each run gets a copy
with all its options.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import re
import sys
import typing
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse.typing import register_type

from gpt2zh.config.duration import Duration
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.paths import expand_home, expand_homes, find_copied_run
from gpt2zh.config.retired import RETIRED, check_retired, drop_retired
from gpt2zh.config.stages import Stages
from gpt2zh.config.suggestions import suggest
from gpt2zh.config.tables import load_yaml

_EMPTY = "is empty, as from a shell variable that is not set; give a path, or . for this folder"

set_parsing_settings(docstring_parse_attribute_docstrings=True)
register_type(Duration, serializer=str, deserializer=Duration.parse)
register_type(Stages, serializer=str, deserializer=Stages.parse)


def parse(*schemas: type, argv: Sequence[str] | None = None, prog: str) -> tuple[Any, ...]:
    """Build one object of each schema from defaults < `--config FILE` < flags.

    Args:
        schemas: Dataclasses whose fields become flags of one command; `--config` may hold any part
            of them.
        argv: The arguments; None for those of the process.
        prog: The command as the user types it, for the help.

    Raises:
        UserError: A flag or key is unknown, or a value is missing or has the wrong type.
    """
    kinds = {name: kind for schema in schemas for name, kind in leaves(schema)}
    parser = _parser(schemas, prog)
    given = list(sys.argv[1:] if argv is None else argv)
    if "-h" in given or "--help" in given:
        print(re.sub(r"<class\s+'(\w+)'>", r"\1", parser.format_help()))
        raise SystemExit(0)
    flags = _normalize(given, kinds)
    flags = _check_files(flags, kinds)
    try:
        filled = parser.instantiate(parser.parse_args(flags))
        parsed = tuple(
            expand_homes(schema(**{f.name: filled[f.name] for f in dataclasses.fields(schema)}))
            for schema in schemas
        )
    except UserError:
        raise
    except Exception as error:  # jsonargparse raises many types; all mean wrong input
        raise UserError(f"{_reword(str(error), schemas)}\nsee {prog} --help") from error
    _refuse_nulls(parsed)
    return parsed


def _reword(message: str, schemas: tuple[type, ...]) -> str:
    """Return jsonargparse's message, or ours for a value that is not one of a few."""
    message = " ".join(message.split())
    found = re.search(
        r'key "([\w.]+)": Expected a typing.Literal\[(.*?)\]. Got value: (.*)', message
    )
    if not found:
        return message
    name, choices, value = found.groups()
    cures = [field.metadata.get("cure", "") for field in _fields(schemas) if field.name == name]
    known = choices.replace("'", "")
    return f"--{name} {value} is not known; known are {known}" + "".join(cures)


def _fields(schemas: tuple[type, ...]) -> list[dataclasses.Field]:
    return [field for schema in schemas for field in dataclasses.fields(schema)]


@functools.cache  # it takes a tenth of a second, and the tests parse many command lines
def _parser(schemas: tuple[type, ...], prog: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=prog,
        usage=f"{prog} [--config FILE] [--option VALUE ...]",
        exit_on_error=False,
        allow_abbrev=False,
        print_config=None,
    )
    parser.add_argument("--config", action="config", help="YAML file with any part of the options.")
    for schema in schemas:
        parser.add_class_arguments(schema)
    for action in parser._actions:
        if action.metavar == "CONFIG" and action.dest != "config":
            action.help = argparse.SUPPRESS  # a file for one section only; --config is enough
        if action.metavar == "[ITEM,...]":
            action.metavar = "VALUE ..."  # `_normalize` accepts a list so
    first = {field.name for field in _fields(schemas) if field.metadata.get("first")}
    for group in parser._action_groups:  # a base class has its fields before those of an act
        group._group_actions.sort(key=lambda action: action.dest not in first)
    return parser


def leaves(schema: type, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield (dotted name, type) of every field that is not a dataclass itself, at any depth."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from leaves(typing.cast(type, kind), f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, kind


def to_plain(config: Any) -> Any:
    """Return a config as dicts, lists, numbers and texts, which YAML and JSON can hold."""
    if isinstance(config, (Duration, Path, Stages)):
        return str(config)
    if dataclasses.is_dataclass(config):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (list, tuple)):
        return [to_plain(item) for item in config]
    return config


def dump(config: Any) -> str:
    """Return a config as YAML, which `--config` reads back to an equal object."""
    return dump_plain(to_plain(config))


def dump_plain(table: dict[str, Any]) -> str:
    """Return the plain values of a config as the YAML that `dump` writes."""
    return yaml.safe_dump(table, allow_unicode=True, sort_keys=False)


def _normalize(argv: list[str], kinds: dict[str, Any]) -> list[str]:
    """Rewrite `argv` to `--name=value` with the names of `kinds`, and refuse unknown names."""
    plain: list[str] = []
    lists: dict[str, list[str]] = {}
    faults: list[str] = []
    pending = list(argv)
    while pending:
        argument = pending.pop(0)
        if not argument.startswith("--"):
            faults.append(
                f"'{argument}' does not belong to an option; quote globs and values with spaces"
            )
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name not in kinds and name not in ("config", "local_rank"):
            faults.append(f"unknown option --{name}{suggest(name, kinds, '--')}")
        values = [value] if equals else []
        while not equals and pending and not pending[0].startswith("--"):
            values.append(pending.pop(0))
            if typing.get_origin(kinds.get(name)) is not tuple:
                break
        if values == [""] and _is_path(kinds.get(name)):
            faults.append(f"--{name} {_EMPTY}")
        if name == "local_rank":  # the deepspeed launcher adds it; World reads the environment
            continue
        if typing.get_origin(kinds.get(name)) is tuple:
            lists.setdefault(name, []).extend(values)
        elif values or kinds.get(name) is not bool:
            plain.append(f"--{name}={values[0]}" if values else f"--{name}")
        else:
            plain.append(f"--{name}=true")
    raise_all(faults, "the command line")
    plain.sort(key=lambda flag: not flag.startswith("--config="))  # later ones win
    return plain + [f"--{name}={json.dumps(v, ensure_ascii=False)}" for name, v in lists.items()]


def _is_path(kind: Any) -> bool:
    """Return whether an option takes a path; an empty one would mean the current folder."""
    return kind is Path or Path in typing.get_args(kind)


def _check_files(flags: Sequence[str], kinds: dict[str, Any]) -> list[str]:
    """Refuse a `--config` file that is missing, is not a YAML mapping, or has unknown keys.

    Returns:
        The flags; the name of a file with retired settings is replaced by its text without them.
    """
    faults = []
    checked = []
    for flag in flags:
        if not flag.startswith("--config="):
            checked.append(flag)
            continue
        path = Path(expand_home(flag.partition("=")[2]))
        try:
            table = load_yaml(path, f"--config {path}")
        except OSError as error:
            raise UserError(f"--config {path}: {error.strerror}") from error
        if not isinstance(table, dict):
            raise UserError(
                f"--config {path} must hold a YAML mapping of options, such as `seed: 1`"
            )
        sections = {name.rpartition(".")[0] for name in kinds}
        given = list(flatten(table))
        faults += _given_twice(path, given)
        if not any(other.startswith("--output=") for other in flags):
            fault = find_copied_run(path, table.get("output"))
            faults += [fault] if fault else []
        for key, value in given:
            if key in sections:
                faults.append(f"{path}: {key} is a section; write its options below it, indented")
            elif key in RETIRED and key.rpartition(".")[0] in sections:
                if fault := check_retired(key, value):
                    faults.append(f"{path}: {fault}")
            elif key not in kinds:
                faults.append(f"{path}: unknown key '{key}'{suggest(key, kinds)}")
            elif value == "" and _is_path(kinds[key]):
                faults.append(f"{path}: {key} {_EMPTY}")
            elif typing.get_origin(kinds[key]) is tuple and isinstance(value, str):
                faults.append(f"{path}: {key} is a list; write {key}: [{value}]")
        kept = drop_retired(table)
        text = yaml.safe_dump(kept, allow_unicode=True, sort_keys=False)
        checked.append(f"--config={path if kept == table else text}")
    raise_all(faults, "the config file")
    return checked


def _given_twice(path: Path, given: Sequence[tuple[str, Any]]) -> list[str]:
    """Return the options that a file gives both as `a.b: 1` and as `b: 1` below `a:`."""
    counts = Counter(name for name, _ in given)
    return [
        f"{path}: {name} is given twice, once by its dotted name and once below its section; keep "
        "one of them"
        for name, count in counts.items()
        if count > 1
    ]


def _refuse_nulls(configs: Iterable[Any], prefix: str = "") -> None:
    """Refuse null where the type does not allow it; jsonargparse accepts it for its own types."""
    for config in configs:
        hints = typing.get_type_hints(type(config))
        for field in dataclasses.fields(config):
            value, name = getattr(config, field.name), prefix + field.name
            if dataclasses.is_dataclass(value):
                _refuse_nulls([value], f"{name}.")
            elif value is None and type(None) not in typing.get_args(hints[field.name]):
                raise UserError(
                    f"{name} is null; write a value, or remove it for its default {_default(field)}"
                )


def _default(field: dataclasses.Field) -> Any:
    """Return the default of a dataclass field, also of one with a factory."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def flatten(table: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield (dotted name, value) of all values in nested dicts."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
