"""Commands with verbs, such as `gpt2zh generate`: pick a verb, parse its options, run it.

A verb's module is imported only when the verb runs, so help and refusals are fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gpt2zh.config.cli import parse
from gpt2zh.config.console import drop_lost_output, prepare_output
from gpt2zh.config.errors import UserError
from gpt2zh.config.suggestions import suggest


@dataclass(frozen=True)
class Verb:
    """One verb of a command."""

    name: str
    """What the user types: one word, or two words whose first is shared by several verbs."""
    config: type | tuple[type, ...]
    """Dataclass of its options, or several whose options are all accepted."""
    run: str
    """`module:function` that gets the options; imported when the verb runs."""
    summary: str
    """One line for the list of verbs."""
    positional: str | None = None
    """Name of the field that a leading bare argument fills."""
    goes_on: bool = False
    """Whether it goes on when what it prints is lost: its work lies in files."""


def run_verbs(
    *, prog: str, description: str, verbs: Sequence[Verb], argv: Sequence[str] | None = None
) -> int:
    """Run the verb that `argv` names and return the exit code: 0 done, 1 failed, 2 bad input."""
    try:
        prepare_output()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
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
        if verb.goes_on:
            drop_lost_output()
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
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
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
    """Return the verb that a command line begins with, and the arguments after it."""
    table = {verb.name: verb for verb in verbs}
    alike = [name for name in table if name.split()[0] == given[0]]
    for words in (2, 1):
        name = " ".join(given[:words])
        if name in table:
            return table[name], list(given[words:])
    if alike:
        raise UserError(f"unknown verb '{' '.join(given[:2])}'; known: {', '.join(alike)}")
    raise UserError(f"unknown verb '{given[0]}'{suggest(given[0], table)}")
