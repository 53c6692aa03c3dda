"""What distinguishes two plans, in words for the user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools.prepare.plan import NEWER_OPTIONS, PreparePlan
from data_tools.sources.delimiter import name_of
from data_tools.sources.source import Slice, SourceFile


def differences(before: PreparePlan, now: PreparePlan) -> list[str]:
    """Return what distinguishes two plans, one line each."""
    lines = option_differences(before.options, now.options)
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
    if before.base != now.base:
        lines.append("the shards to append to have changed")
    if not lines and find_cuts(before) != find_cuts(now):
        lines.append("the input would be cut at other places, so the content of a file changed")
    return sorted(lines)


def find_cuts(plan: PreparePlan) -> dict[Path, list[Slice]]:
    """Return where each source is cut; the units follow from this, if no source was dropped."""
    cuts: dict[Path, list[Slice]] = {}
    for unit in plan.units:
        for part in unit.slices:
            cuts.setdefault(plan.source(part.source).path, []).append(part.slice)
    return cuts


def _show(source: SourceFile, name: str) -> str:
    value = getattr(source, name)
    return name_of(value) if name == "delimiter" else str(value)


def option_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return which defining options differ, one line each."""
    return [
        f"--{name.replace('_', '-')} was {before.get(name, NEWER_OPTIONS.get(name))}, "
        f"is now {now.get(name, NEWER_OPTIONS.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
