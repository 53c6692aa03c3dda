"""Dataclasses as command lines: defaults, then a YAML file, then flags.

jsonargparse does the parsing, the types and the help (the string under each field). What it
lacks stands here: unknown keys name the nearest known one, `--dry-run` equals `--dry_run`, a
bare `--overwrite` is true, and a field of several texts takes several values.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import json
import os
import re
import sys
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse.typing import register_type

from gpt2zh.config.duration import Duration
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.retired import RETIRED, retired_fault, without_retired
from gpt2zh.config.stages import Stages

set_parsing_settings(docstring_parse_attribute_docstrings=True)
register_type(Duration, serializer=str, deserializer=Duration.parse)
register_type(Stages, serializer=str, deserializer=Stages.parse)


@dataclass(frozen=True)
class Verb:
    """One act of a command: what it reads and what it runs."""

    name: str
    """What the user types: one word, or two of which several verbs share the first."""
    config: type | tuple[type, ...]
    """Dataclass of its options, or several whose options stand side by side."""
    run: str
    """`module:function` of these options, imported when the verb runs: help stays fast."""
    summary: str
    """One line for the list of verbs."""
    positional: str | None = None
    """Name of the field that a leading bare argument fills."""


def run_verbs(
    *, prog: str, description: str, verbs: Sequence[Verb], argv: Sequence[str] | None = None
) -> int:
    """Run the verb that `argv` names and return the exit code: 0 done, 1 failed, 2 bad input."""
    given = list(sys.argv[1:] if argv is None else argv)
    firsts = {verb.name.split()[0] for verb in verbs if " " in verb.name}
    wants_help = [word for word in given[:2] if word not in firsts][:1] in (["-h"], ["--help"])
    if not given or wants_help:
        print(_overview(prog, description, verbs), file=sys.stdout if given else sys.stderr)
        return 0 if given else 2
    try:
        verb, rest = _pick(given, verbs)
        if verb.positional and rest and not rest[0].startswith("-"):
            rest = [f"--{verb.positional}", *rest]
        schemas = verb.config if isinstance(verb.config, tuple) else (verb.config,)
        configs = parse(*schemas, argv=rest, prog=f"{prog} {verb.name}")
        module, function = verb.run.split(":")
        code = getattr(importlib.import_module(module), function)(*configs) or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _overview(prog: str, description: str, verbs: Sequence[Verb]) -> str:
    width = max(16, *(len(verb.name) for verb in verbs))
    listed = "\n".join(f"  {verb.name:<{width}} {verb.summary}" for verb in verbs)
    return (
        f"usage: {prog} <verb> [options]\n\n{description}\n\nverbs:\n{listed}\n\n"
        f"`{prog} <verb> --help` explains every option."
    )


def _pick(given: Sequence[str], verbs: Sequence[Verb]) -> tuple[Verb, list[str]]:
    """The verb that a command line begins with, and what follows it."""
    table = {verb.name: verb for verb in verbs}
    alike = [name for name in table if name.split()[0] == given[0]]
    for words in (2, 1):
        name = " ".join(given[:words])
        if name in table:
            return table[name], list(given[words:])
    if alike:
        raise UserError(f"'{' '.join(given[:2])}' is no verb; known: {', '.join(alike)}")
    raise UserError(f"unknown verb '{given[0]}'{_nearest(given[0], table)}")


def parse(*schemas: type, argv: Sequence[str] | None = None, prog: str) -> tuple[Any, ...]:
    """Build one object of each schema from defaults < `--config FILE` < flags.

    Args:
        schemas: Dataclasses whose fields become flags side by side; `--config` may hold any part
            of them.
        argv: The arguments; those of the process when absent.
        prog: The command as the user typed it, for the help.

    Raises:
        UserError: A flag or key is unknown, a value has the wrong type or is missing.
    """
    kinds = {name: kind for schema in schemas for name, kind in leaves(schema)}
    parser = _parser(schemas, prog)
    given = list(sys.argv[1:] if argv is None else argv)
    if "-h" in given or "--help" in given:
        print(re.sub(r"<class\s+'(\w+)'>", r"\1", parser.format_help()))
        raise SystemExit(0)
    flags = _normalise(given, kinds)
    flags = _check_files(flags, kinds)
    try:
        filled = parser.instantiate(parser.parse_args(flags))
        parsed = tuple(
            schema(**{f.name: filled[f.name] for f in dataclasses.fields(schema)})
            for schema in schemas
        )
    except UserError:
        raise
    except Exception as error:  # jsonargparse raises many kinds; each is the user's input
        raise UserError(" ".join(str(error).split()) + f"\nsee {prog} --help") from error
    _refuse_nulls(parsed)
    return parsed


def _parser(schemas: Sequence[type], prog: str) -> ArgumentParser:
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
    unused = tuple(
        f"{field.name}."
        for schema in schemas
        for field in dataclasses.fields(schema)
        if not field.metadata.get("help", True)
    )
    for action in parser._actions:
        if action.metavar == "CONFIG" and action.dest != "config":
            action.help = argparse.SUPPRESS  # a file for one section alone: one way is enough
        if f"{action.dest}.".startswith(unused):
            action.help = argparse.SUPPRESS  # only there so that files with it are read
        if action.metavar == "[ITEM,...]":
            action.metavar = "VALUE ..."  # as `_normalise` takes a list
    return parser


def leaves(schema: type, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield (dotted name, type) of every field of a dataclass that is not itself one."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from leaves(typing.cast(type, kind), f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, kind


def to_plain(config: Any) -> Any:
    """Turn a config into dicts, lists, numbers and texts that YAML and JSON can hold."""
    if isinstance(config, (Duration, Path, Stages)):
        return str(config)
    if dataclasses.is_dataclass(config):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (list, tuple)):
        return [to_plain(item) for item in config]
    return config


def dump(config: Any) -> str:
    """Write a config as YAML that `--config` reads back to an equal object."""
    return yaml.safe_dump(to_plain(config), allow_unicode=True, sort_keys=False)


def _normalise(argv: list[str], kinds: dict[str, Any]) -> list[str]:
    """Rewrite `argv` to `--name=value` with the names of `kinds`; refuse unknown names."""
    plain: list[str] = []
    lists: dict[str, list[str]] = {}
    faults: list[str] = []
    pending = list(argv)
    while pending:
        argument = pending.pop(0)
        if not argument.startswith("--"):
            faults.append(f"'{argument}' belongs to no option (quote globs and values with spaces)")
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name not in kinds and name not in ("config", "local_rank"):
            faults.append(f"unknown option --{name}{_nearest(name, kinds, '--')}")
        values = [value] if equals else []
        while not equals and pending and not pending[0].startswith("--"):
            values.append(pending.pop(0))
            if typing.get_origin(kinds.get(name)) is not tuple:
                break
        if name == "local_rank":  # added by the deepspeed launcher; World reads the environment
            continue
        if typing.get_origin(kinds.get(name)) is tuple:
            lists.setdefault(name, []).extend(values)
        elif values or kinds.get(name) is not bool:
            plain.append(f"--{name}={values[0]}" if values else f"--{name}")
        else:
            plain.append(f"--{name}=true")
    raise_all(faults, "the command line")
    plain.sort(key=lambda flag: not flag.startswith("--config="))  # what comes later wins
    return plain + [f"--{name}={json.dumps(v, ensure_ascii=False)}" for name, v in lists.items()]


def _check_files(flags: Sequence[str], kinds: dict[str, Any]) -> list[str]:
    """Refuse a `--config` file that is missing, is no YAML table, or has unknown keys.

    Return the flags; the text of a file without its retired settings takes the place of its name.
    """
    faults = []
    checked = []
    for flag in flags:
        if not flag.startswith("--config="):
            checked.append(flag)
            continue
        path = Path(flag.partition("=")[2])
        try:
            table = yaml.safe_load(path.read_text("utf-8"))
        except OSError as error:
            raise UserError(f"--config {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"--config {path} is no UTF-8 text: {error}") from error
        except yaml.YAMLError as error:
            raise UserError(f"--config {path} is not valid YAML: {error}") from error
        if not isinstance(table, dict):
            raise UserError(f"--config {path} holds no table of options")
        sections = {name.rpartition(".")[0] for name in kinds}
        for key, value in flatten(table):
            if key in sections:
                faults.append(f"{path}: {key} is a section, its options go below it, indented")
            elif key in RETIRED and key.rpartition(".")[0] in sections:
                if fault := retired_fault(key, value):
                    faults.append(f"{path}: {fault}")
            elif key not in kinds:
                faults.append(f"{path}: unknown key '{key}'{_nearest(key, kinds)}")
            elif typing.get_origin(kinds[key]) is tuple and isinstance(value, str):
                faults.append(f"{path}: {key} is a list; write {key}: [{value}]")
        kept = without_retired(table)
        text = yaml.safe_dump(kept, allow_unicode=True, sort_keys=False)
        checked.append(flag if kept == table else f"--config={text}")
    raise_all(faults, "the config file")
    return checked


def _refuse_nulls(configs: Iterable[Any], prefix: str = "") -> None:
    """Refuse a null where the type has none; jsonargparse lets it pass for registered types."""
    for config in configs:
        hints = typing.get_type_hints(type(config))
        for field in dataclasses.fields(config):
            value, name = getattr(config, field.name), prefix + field.name
            if dataclasses.is_dataclass(value):
                _refuse_nulls([value], f"{name}.")
            elif value is None and type(None) not in typing.get_args(hints[field.name]):
                raise UserError(
                    f"{name} is null; leave it out for its default {_default(field)}, or "
                    "write a value"
                )


def _default(field: dataclasses.Field) -> Any:
    """The default of a dataclass field, whichever way it is given."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def flatten(table: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield (dotted name, value) of everything in nested tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nearest(name: str, known: Iterable[str], mark: str = "") -> str:
    """Return `; did you mean ...?` with the closest known name, or where to look."""
    known = list(known)
    same_leaf = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same_leaf or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:
        leaf_of = {k.rpartition(".")[2]: k for k in known}
        leaf = difflib.get_close_matches(name.rpartition(".")[2], leaf_of, n=1, cutoff=0.6)
        close = [leaf_of[leaf[0]]] if leaf else []
    return f"; did you mean {mark}{close[0]}?" if close else f"; known: {', '.join(known)}"
