"""Go on with an unfinished preparation without input files that are gone or changed.

The units that held such a file are prepared again without it, the others stay. The result equals
that of a preparation whose units hold the same slices of the other files: the same rows in the same
order. With other units, as a new preparation would cut, the documents and their order are the same,
but rows end at other places, since each unit begins a row.

Sources keep their numbers in the plan, so that drafts stay valid; the manifest does not list those
that were dropped, so a good copy can be appended later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from data_tools.prepare.formats import has_draft, is_finished, read_digests
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan, read_plan, write_plan
from data_tools.sources.cut import cut
from data_tools.sources.read import slice_digest
from data_tools.sources.source import Slice, SourceFile
from gpt2zh.config.errors import UserError, printable
from gpt2zh.data.manifest import Manifest

_SHOWN = 20


def drop_changed(folder: PartialFolder, *, only_missing: bool) -> PreparePlan:
    """Drop the sources that are gone or changed, write the new plan, and return it.

    Args:
        folder: It holds an unfinished preparation.
        only_missing: Look only at sources of units that are not prepared yet. The text of the
            others was read while they were as planned.

    Raises:
        UserError: Nothing would remain.
    """
    with folder.only_one("plan", waits=True):
        before = read_plan(folder.plan)
        wanted = set(before.remaining)
        if only_missing:
            missing = (unit for unit in before.units if not _is_done(before, folder, unit.number))
            wanted &= {part.source for unit in missing for part in unit.slices}
        digests = read_digests(before, folder)
        found = {n: look_at(before.source(n), before, digests.get(n, {})) for n in sorted(wanted)}
        changed = {number: what for number, what in found.items() if isinstance(what, str)}
        if len(changed) == len(before.remaining):
            raise UserError(
                f"every file that {folder.path} was begun with is gone or changed, so nothing "
                "would remain; bring them back, or use --restart to start again"
            )
        files = [what for what in found.values() if isinstance(what, SourceFile)]
        plan = without(before.with_times(files), changed)
        if changed:
            folder.remove_packed()  # duplicates are decided again
        if plan != before:
            write_plan(folder.plan, plan)
    lines = [f"dropped: {plan.source(n).path} {why}" for n, why in changed.items()]
    if not changed:
        which = "file that is still to be read" if only_missing else "file"
        lines = [f"no {which} is gone or changed"]
    _show(lines)
    announce_dropped(before)
    return plan


def announce_dropped(plan: PreparePlan, found: Collection[Path] = ()) -> None:
    """Print which sources a preparation has dropped so far.

    Args:
        plan: The plan as it is continued.
        found: Files that the request names; those among them that were dropped are there again.
    """
    lines = []
    for number in plan.dropped:
        path = plan.source(number).path
        lines.append(f"dropped before: {path}")
        if path in found:
            lines[-1] += "; it is there again: add it with --append when this is done"
    _show(lines)


def without(plan: PreparePlan, numbers: Iterable[int]) -> PreparePlan:
    """Return a plan without some of its sources, given by their numbers."""
    dropped = tuple(sorted({*plan.dropped, *numbers}))
    if dropped == plan.dropped:
        return plan
    units = tuple(
        replace(unit, slices=tuple(part for part in unit.slices if part.source not in dropped))
        for unit in plan.units
    )
    shorter = [new.number for new, old in zip(units, plan.units, strict=True) if new != old]
    remade = tuple(sorted({*plan.remade, *shorter}))
    return replace(plan, units=units, dropped=dropped, remade=remade, origin=plan.draft_identity)


def look_at(source: SourceFile, plan: PreparePlan, read: dict[Slice, str]) -> SourceFile | str:
    """Return a source with its present time, or in words how it has changed.

    Args:
        source: As it was planned.
        plan: It says how the source is cut.
        read: Digests of the slices that were read.
    """
    try:
        status = source.path.stat()
        if not os.access(source.path, os.R_OK):
            return "cannot be read"
    except OSError as error:
        return f"is gone ({error.strerror})"
    if status.st_size != source.bytes:
        return f"changed: {source.bytes} bytes were planned, it has {status.st_size}"
    if status.st_mtime_ns == source.mtime_ns:
        return source
    try:
        if any(slice_digest(source, part) != digest for part, digest in read.items()):
            return "changed: its content is not what was read"
        if cut(source, plan.config, plan.config.unit_bytes) != plan.cuts.get(source.path, []):
            return "changed: its records begin at other places"
    except UserError as error:
        return f"cannot be read any more ({error})"
    return replace(source, mtime_ns=status.st_mtime_ns)


def refuse_new(plan: PreparePlan, files: Sequence[Path], base: Manifest | None) -> None:
    """Refuse input files that neither the plan nor the shards to append to know.

    Raises:
        UserError: There is one.
    """
    known = {source.path.as_posix() for source in plan.sources}
    known |= {source.path for source in (base.sources if base else ())}
    new = sorted({path for path in files if path.as_posix() not in known})
    if new:
        raise UserError(
            "--drop-changed goes on with the files that the preparation was begun with, but "
            + (f"{new[0]} and {len(new) - 1} more are" if len(new) > 1 else f"{new[0]} is")
            + " new; leave new files out of --input now, and add them with --append when this is "
            "done"
        )


def has_touched(plan: PreparePlan) -> bool:
    """Return whether the file of a source is gone, or has another size or time."""
    for source in plan.remaining.values():
        try:
            status = source.path.stat()
        except OSError:
            return True
        if (status.st_size, status.st_mtime_ns) != (source.bytes, source.mtime_ns):
            return True
    return False


def _is_done(plan: PreparePlan, folder: PartialFolder, number: int) -> bool:
    unit = plan.unit(number)
    return has_draft(plan, folder, unit) or is_finished(plan, folder, unit)


def _show(lines: list[str]) -> None:
    """Print lines on stderr, but not thousands."""
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    for line in lines:
        print(printable(line), file=sys.stderr)
