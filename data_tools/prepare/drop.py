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
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from data_tools.prepare.differences import find_cuts
from data_tools.prepare.formats import has_draft, is_finished, read_draft
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan, read_plan, write_plan
from data_tools.sources.cut import cut
from data_tools.sources.read import slice_digest
from data_tools.sources.source import Slice, SourceFile
from gpt2zh.config.errors import UserError, printable

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
        digests = _drafted_digests(before, folder)
        found = {n: look_at(before.source(n), before, digests.get(n, {})) for n in sorted(wanted)}
        changed = {number: what for number, what in found.items() if isinstance(what, str)}
        if len(changed) == len(before.remaining):
            raise UserError(
                f"all {len(changed)} files that {folder.path} was begun with are gone or changed, "
                "so nothing would remain; bring them back, or use --restart to start again"
            )
        files = [what for what in found.values() if isinstance(what, SourceFile)]
        plan = without(before.with_times(files), changed)
        if changed:
            folder.remove_packed()  # duplicates are decided again
        if plan != before:
            write_plan(folder.plan, plan)
    _announce(plan, changed)
    return plan


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
        planned = find_cuts(plan).get(source.path, [])
        if cut(source, plan.config, plan.config.unit_bytes) != planned:
            return "changed: its records begin at other places"
    except UserError as error:
        return f"cannot be read any more ({error})"
    return replace(source, mtime_ns=status.st_mtime_ns)


def refuse_new(plan: PreparePlan, files: Sequence[Path]) -> None:
    """Refuse input files that the plan does not know.

    Raises:
        UserError: There is one.
    """
    known = {source.path for source in plan.sources}
    new = sorted({path for path in files if path not in known})
    if new:
        raise UserError(
            "--drop-changed goes on with the files that the preparation was begun with, but "
            + (f"{new[0]} and {len(new) - 1} others are" if len(new) > 1 else f"{new[0]} is")
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


def _drafted_digests(plan: PreparePlan, folder: PartialFolder) -> dict[int, dict[Slice, str]]:
    """Return the digests of the slices that were read, by number of the source."""
    digests: dict[int, dict[Slice, str]] = {}
    for unit in plan.units:
        if not has_draft(plan, folder, unit):
            continue
        for drafted in read_draft(folder, unit.number)["slices"]:
            extent = drafted["extent"]
            part = Slice(extent["begin"], extent["end"], extent["line"])
            digests.setdefault(drafted["source"], {})[part] = extent["digest"]
    return digests


def _announce(plan: PreparePlan, changed: dict[int, str]) -> None:
    """Print which sources are left out, and why."""
    before = [number for number in plan.dropped if number not in changed]
    lines = [f"dropped: {plan.source(n).path} {why}" for n, why in changed.items()]
    lines += [f"dropped before: {plan.source(n).path}" for n in before]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    for line in lines or ["no file is gone or changed"]:
        print(printable(line), file=sys.stderr)
