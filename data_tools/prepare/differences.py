"""What distinguishes two plans, in words for the user."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from data_tools.prepare.plan import NEWER_OPTIONS, PreparePlan
from data_tools.sources.delimiter import name_of
from data_tools.sources.source import SourceFile


def differences(before: PreparePlan, now: PreparePlan) -> list[str]:
    """Return what distinguishes two plans, one line each."""
    lines = request_differences(before, now.options, now.tokenizer.name, now.base)
    old = {source.path.as_posix(): source for source in before.remaining.values()}
    new = {source.path.as_posix(): source for source in now.remaining.values()}
    lines += [f"input {path} is gone" for path in old.keys() - new.keys()]
    lines += [f"input {path} is new" for path in new.keys() - old.keys()]
    for path in old.keys() & new.keys():
        a, b = (replace(table[path], mtime_ns=0) for table in (old, new))
        lines += [
            f"input {path}: {name} was {_show(a, name)}, is now {_show(b, name)}"
            for name in ("bytes", "format", "compression", "encoding", "delimiter")
            if getattr(a, name) != getattr(b, name)
        ]
    if not lines:
        lines += [
            f"input {path}: its records begin at other places, so its content changed"
            for path in before.cuts.keys() | now.cuts.keys()
            if before.cuts.get(path) != now.cuts.get(path)
        ]
    return sorted(lines)


def request_differences(
    before: PreparePlan, options: dict[str, Any], tokenizer: str, base: str
) -> list[str]:
    """Return what distinguishes a plan from a request besides the input, one line each.

    Args:
        before: The plan.
        options: Of the request, from `defining_options`.
        tokenizer: As it was typed.
        base: Fingerprint of the shards to append to; empty without any.
    """
    names = before.tokenizer.name, tokenizer
    lines = option_differences(before.options, options, tokenizers=names)
    if before.base != base:
        lines.append("the shards to append to have changed")
    return lines


def _show(source: SourceFile, name: str) -> str:
    value = getattr(source, name)
    return name_of(value) if name == "delimiter" else str(value)


def option_differences(
    before: dict[str, Any], now: dict[str, Any], *, tokenizers: tuple[str, str]
) -> list[str]:
    """Return which defining options differ, one line each.

    Args:
        before: From `defining_options`.
        now: The same of another request.
        tokenizers: The tokenizers as they were typed; the options have only their hashes.
    """
    lines = []
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) == now.get(name):
            continue
        old, new = (table.get(name, NEWER_OPTIONS.get(name)) for table in (before, now))
        if name == "versions":
            lines += _version_differences(old or {}, new or {})
        elif name == "tokenizer" and tokenizers[0] == tokenizers[1]:
            lines.append(
                f"--tokenizer {tokenizers[1]} has other content than before "
                f"({str(old)[:12]} before, {str(new)[:12]} now)"
            )
        else:
            old, new = tokenizers if name == "tokenizer" else (old, new)
            lines.append(f"--{name.replace('_', '-')} was {old}, is now {new}")
    return lines


def _version_differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return [
        f"the version of {name} was {before.get(name, 'not recorded')}, is now "
        f"{now.get(name, 'not recorded')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
