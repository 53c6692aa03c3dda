"""The plan that is gone on with: the one that is there if it is the same work, else a new one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from data_tools.config import PrepareConfig
from data_tools.prepare.pack import read_draft
from data_tools.prepare.place import Place, only_one, write_whole
from data_tools.prepare.plan import (
    Plan,
    Unit,
    defining_options,
    differences,
    make_plan,
    plan_text,
    read_plan,
)
from data_tools.sources.cut import Slice
from data_tools.sources.find import SourceFile
from data_tools.sources.read import slice_digest
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import Manifest
from gpt2zh.text.tokenizer import TextTokenizer


def settle(
    config: PrepareConfig,
    place: Place,
    tokenizer: TextTokenizer,
    sources: Sequence[SourceFile],
    base: Manifest | None,
) -> Plan:
    """Return the plan that is there, if it is the same work, else a new one.

    Raises:
        UserError: What is there is other work, or its input changed.
    """
    with only_one(place.lock("plan"), waits=True):
        if not place.plan.exists():
            place.clear()
            plan = make_plan(config, tokenizer, sources, base)
            tokenizer.save(place.tokenizer)
            write_whole(place.plan, plan_text(plan))
            return plan
    before = read_plan(place.plan)
    times = {source.path: source.mtime_ns for source in before.sources}
    touched = [s for s in sources if times.get(s.path) != s.mtime_ns]
    options = defining_options(config, tokenizer)
    if before.options == options and not touched and len(times) == len(sources):
        now = replace(before, base=base.fingerprint if base else "")  # no need to cut again
    else:
        now = make_plan(config, tokenizer, sources, base)
    lines = differences(before, now) or _changed_content(before, place, touched)
    if lines:
        raise UserError(
            f"{place.path} holds an unfinished preparation of something else: "
            + "; ".join(lines)
            + "; give the input and the options as they were to go on with it, or --restart to "
            "discard it"
        )
    if touched:  # same content, other times: those of now are what is compared from now on
        write_whole(place.plan, plan_text(replace(before, sources=tuple(sources))))
    return read_plan(place.plan)


def has_draft(plan: Plan, place: Place, unit: Unit) -> bool:
    """Tell whether the draft of a unit is complete."""
    if not place.draft(unit.number, "json").exists():
        return False
    record = read_draft(place, unit.number)
    return record["plan"] == plan.identity and all(
        path.exists() and path.stat().st_size == size
        for path, size in (
            (place.draft(unit.number, kind), size) for kind, size in record["sizes"].items()
        )
    )


def is_finished(plan: Plan, place: Place, unit: Unit) -> bool:
    """Tell whether the shards of a unit are complete."""
    path = place.unit(unit.number)
    return path.exists() and json.loads(path.read_text("utf-8"))["plan"] == plan.identity


def _changed_content(plan: Plan, place: Place, touched: Sequence[SourceFile]) -> list[str]:
    """Compare files of another time with what complete drafts read of them."""
    by_path = {source.path: source for source in touched}
    lines = []
    for unit in plan.units:
        if not has_draft(plan, place, unit):
            continue
        for piece in read_draft(place, unit.number)["pieces"]:
            source = by_path.get(plan.source(piece["source"]).path)
            extent = piece["extent"]
            part = Slice(extent["begin"], extent["end"], extent["line"])
            if source and slice_digest(source, part) != extent["digest"]:
                lines.append(f"the content of {source.path} changed")
    return sorted(set(lines))
