"""The verbs `prepare` and `finish`: from a request to a folder of shards.

Everything that can be wrong with the request is checked before the work begins, and what was
complete before is found and kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_tools import outcome
from data_tools.clean.cleaner import Cleaner
from data_tools.clean.near import Signer
from data_tools.config import FinishConfig, PrepareConfig
from data_tools.prepare.assemble import assemble, put_in_place, seal
from data_tools.prepare.decide import decide
from data_tools.prepare.draft import Kit, make_draft
from data_tools.prepare.pack import make_packer, pack_unit
from data_tools.prepare.place import Place, only_one, room_needed
from data_tools.prepare.plan import (
    Plan,
    Unit,
    config_of,
    describe_tokenizer,
    read_plan,
)
from data_tools.prepare.request import (
    check_options,
    check_same_options,
    check_space,
    find_base,
    is_complete,
    new_sources,
)
from data_tools.prepare.settle import has_draft, is_finished, settle
from data_tools.prepare.workers import Advance, Begin, Task, Workers
from data_tools.sources.find import SourceFile, find_files, inspect_all
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import MANIFEST, Manifest, read_manifest
from gpt2zh.pages.console import Progress
from gpt2zh.text.spans import make_encoder
from gpt2zh.text.tokenizer import load_tokenizer


def run(config: PrepareConfig) -> None:
    """Prepare a folder of shards, or a part of one, and print what is in it."""
    begun = time.monotonic()
    check_options(config)
    place = Place(config.output)
    try:
        with Workers(config.workers) as workers, room_needed(config.output):
            _go_on(place, is_shared=config.part > 0)
            with place.hold(is_shared=config.part > 0):
                manifest = _prepare(config, place, workers)
    except KeyboardInterrupt:
        print("the same command again goes on where it stopped", file=sys.stderr)
        raise
    if manifest:
        _tell(manifest, config.output, begun)


def finish(config: FinishConfig) -> None:
    """Join the parts of a preparation and print what is in it."""
    begun = time.monotonic()
    place = Place(config.shards)
    with Workers(config.workers) as workers, room_needed(config.shards):
        _go_on(place, is_shared=False)
        if not place.plan.exists():
            if (config.shards / MANIFEST).is_file():
                print(f"{config.shards} is complete; nothing to do")
                return
            raise UserError(
                f"{place.path} holds no preparation to finish; make its parts with `python -m "
                f"data_tools prepare --part I --parts N --output {config.shards} ...`"
            )
        with place.hold(is_shared=False):
            plan = read_plan(place.plan)
            base = read_manifest(config.shards) if plan.base else None
            _check_drafts(plan, place)
            manifest = _complete(plan, place, base, workers)
    _tell(manifest, config.shards, begun)


def _go_on(place: Place, *, is_shared: bool) -> None:
    """Finish what was killed while it got its name."""
    if place.manifest.exists():
        with place.hold(is_shared=is_shared):
            put_in_place(place)


def _prepare(config: PrepareConfig, place: Place, workers: Workers) -> Manifest | None:
    """Do the work that is missing; return the manifest where that makes the whole complete."""
    if config.restart:
        place.discard()
    base = find_base(config)
    files = [path for path in find_files(config.input) if not place.owns(path)]
    sources: Sequence[SourceFile] = inspect_all(files, config)
    tokenizer = load_tokenizer(config.tokenizer)
    make_packer(config, describe_tokenizer(tokenizer))  # do they go together?
    if is_complete(config, sources, tokenizer):
        return None
    if base is not None:
        check_same_options(base, config, tokenizer)
        sources = new_sources(base, sources)
        if not sources:
            print(f"{config.output} holds all of these files already; nothing to append")
            return None
    if not place.plan.exists():
        check_space(config.output, sources, tokenizer)
    place.create()
    with only_one(place.lock(f"part-{config.part}-of-{config.parts}")):
        plan = settle(config, place, tokenizer, sources, base)
        if config.overwrite:
            place.replacing.touch()
        mine = _units_of(plan, config)
        _make_drafts(plan, place, mine, workers)
        if config.part:
            print(
                f"part {config.part} of {config.parts} is done, {len(mine)} of {len(plan.units)} "
                "units\nnext        when all parts are done: "
                f"python -m data_tools finish {config.output}"
            )
            return None
        return _complete(plan, place, base, workers)


def _units_of(plan: Plan, config: PrepareConfig) -> list[Unit]:
    """Deal the units to the parts in turn, so that each gets some of every file."""
    return list(plan.units[config.part - 1 :: config.parts] if config.part else plan.units)


def _make_drafts(plan: Plan, place: Place, units: Sequence[Unit], workers: Workers) -> None:
    """Make the drafts that are missing."""
    missing = [
        unit
        for unit in units
        if not has_draft(plan, place, unit) and not is_finished(plan, place, unit)
    ]
    for unit in missing:
        for path in place.drafts.glob(f"{unit.number:05d}.*.tmp"):
            path.unlink(missing_ok=True)  # of a process that was killed
    _go_through(_draft_task, _begin_drafts, plan, place, units, missing, workers, "preparing")


def _complete(plan: Plan, place: Place, base: Manifest | None, workers: Workers) -> Manifest:
    """From drafts to shards under their final name."""
    config = config_of(plan, place.output)
    decide(config, plan, place, base)
    missing = [unit for unit in plan.units if not is_finished(plan, place, unit)]
    _go_through(_pack_task, _begin_packing, plan, place, plan.units, missing, workers, "packing")
    manifest = assemble(config, plan, place, base)
    try:
        outcome.check_not_empty(manifest)
    except UserError:
        place.discard()  # nothing in it is worth going on with
        raise
    seal(manifest, plan, place, base)
    put_in_place(place)
    return manifest


def _go_through(
    task: Task,
    begin: Begin,
    plan: Plan,
    place: Place,
    units: Sequence[Unit],
    missing: Sequence[Unit],
    workers: Workers,
    label: str,
) -> None:
    total = sum(unit.bytes for unit in units)
    done = total - sum(unit.bytes for unit in missing)
    progress = Progress(label, total, before=done)
    try:
        workers.run(
            task,
            begin,
            (place.output,),
            [unit.number for unit in missing],
            progress=progress,
            done=done,
        )
    finally:
        progress.close()


def _begin_drafts(output: Path) -> Kit:
    """Make what a process needs to draft units; everything is found in the place."""
    place = Place(output)
    plan = read_plan(place.plan)
    config = config_of(plan, output)
    signer = Signer(config.near_threshold) if config.near_duplicates != "keep" else None
    return Kit(
        config=config,
        plan=plan,
        place=place,
        encoder=make_encoder(load_tokenizer(place.tokenizer)),
        closing_id=plan.tokenizer.eos_id if config.packing == "full" else None,
        cleaner=Cleaner(config),
        signer=signer,
    )


def _draft_task(kit: Kit, number: int, advance: Advance) -> None:
    make_draft(kit, kit.plan.unit(number), advance)


def _begin_packing(output: Path) -> tuple[PrepareConfig, Plan, Place]:
    place = Place(output)
    plan = read_plan(place.plan)
    return config_of(plan, output), plan, place


def _pack_task(tools: tuple[PrepareConfig, Plan, Place], number: int, advance: Advance) -> None:
    config, plan, place = tools
    pack_unit(config, plan, place, plan.unit(number), advance)


def _check_drafts(plan: Plan, place: Place) -> None:
    """Refuse to finish what is not all there.

    Raises:
        UserError: Drafts are missing.
    """
    missing = [
        unit.number
        for unit in plan.units
        if not has_draft(plan, place, unit) and not is_finished(plan, place, unit)
    ]
    if missing:
        some = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise UserError(
            f"{len(missing)} of {len(plan.units)} units are not prepared yet ({some}); run the "
            "parts that are missing (unit U belongs to --part (U mod N) + 1 of --parts N), then "
            "finish again"
        )


def _tell(manifest: Manifest, output: Path, begun: float) -> None:
    outcome.warn(manifest)
    print(outcome.summary(manifest, output, seconds=time.monotonic() - begun))
