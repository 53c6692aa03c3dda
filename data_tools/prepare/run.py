"""The verbs `prepare` and `finish`: from a request to a folder of shards.

Everything that can be wrong with the request is checked before the work begins, and what an earlier
run completed is found and kept.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_tools.config import FinishConfig, PrepareConfig
from data_tools.prepare import summary
from data_tools.prepare.assemble import assemble, put_in_place, seal
from data_tools.prepare.damage import warn_of_damage
from data_tools.prepare.decide import decide
from data_tools.prepare.draft import begin_drafts, make_draft
from data_tools.prepare.drop import announce_dropped, drop_changed, has_touched, refuse_new
from data_tools.prepare.formats import has_draft, is_finished
from data_tools.prepare.pack import begin_packing, pack_unit
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan, Unit, describe_tokenizer, read_plan
from data_tools.prepare.request import (
    check_options,
    check_same_options,
    check_space,
    find_base,
    is_complete,
    new_sources,
    warn_of_cost,
    worker_faults,
)
from data_tools.prepare.resume import check_request, choose_plan
from data_tools.prepare.split_writer import make_packer
from data_tools.prepare.workers import Phase, Workers
from data_tools.shards.output import check_output, disk_needed, holds_shards
from data_tools.sources.find import SourceFile, find_files, inspect_all
from gpt2zh.config.errors import UserError, printable, raise_all
from gpt2zh.data.manifest import Manifest, read_manifest
from gpt2zh.pages.console import Progress, command
from gpt2zh.pages.numbers import plural
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_DRAFTING = Phase("preparing", begin_drafts, make_draft)
_PACKING = Phase("packing", begin_packing, pack_unit)
_KEPT = "what is complete is kept"


def run(config: PrepareConfig) -> None:
    """Prepare a folder of shards, or a part of one, and print what is in it."""
    begun = time.monotonic()
    check_options(config)
    folder = PartialFolder(config.output)
    try:
        with Workers(config.workers) as workers, disk_needed(config.output, cure=_KEPT):
            _finish_renaming(folder, is_shared=config.part > 0)
            with folder.hold(is_shared=config.part > 0):
                manifest = _prepare(config, folder, workers)
    except KeyboardInterrupt:
        print("run the same command again to continue where it stopped", file=sys.stderr)
        raise
    if manifest:
        summary.show(manifest, config.output, seconds=time.monotonic() - begun)
        warn_of_damage(manifest, config.output)


def finish(config: FinishConfig) -> None:
    """Join the parts of a preparation and print what is in it."""
    begun = time.monotonic()
    raise_all(worker_faults(config.workers), "the options")
    folder = PartialFolder(config.shards)
    with Workers(config.workers) as workers, disk_needed(config.shards, cure=_KEPT):
        _finish_renaming(folder, is_shared=False)
        if not folder.plan.exists():
            if holds_shards(config.shards):
                print(printable(f"{config.shards} is complete; nothing to do"))
                return
            raise UserError(
                f"{folder.path} holds no preparation to finish; make its parts with `python -m "
                f"data_tools prepare --part I --parts N {command('--output', config.shards)} ...`"
            )
        with folder.hold(is_shared=False):
            plan = read_plan(folder.plan)
            base = _read_base(plan, folder)
            if config.drop_changed:
                plan = drop_changed(folder, only_missing=True)
            else:
                announce_dropped(plan)
            workers.get_ready(sum(unit.bytes for unit in plan.units))
            remade = [unit for unit in plan.units if unit.number in plan.remade]
            _make_drafts(plan, folder, remade, workers)
            _check_drafts(plan, folder)
            manifest = _complete(plan, folder, base, workers)
    summary.show(manifest, config.shards, seconds=time.monotonic() - begun)
    warn_of_damage(manifest, config.shards)


def _read_base(plan: PreparePlan, folder: PartialFolder) -> Manifest | None:
    """Return the manifest of the shards to which a plan appends.

    Raises:
        UserError: Other shards have their name now.
    """
    if not plan.base:
        return None
    base = read_manifest(folder.output)
    if base.fingerprint != plan.base:
        raise UserError(
            f"{folder.output} does not hold the shards that {folder.path} was begun to be appended "
            "to; put them back, or remove that folder and append again"
        )
    return base


def _finish_renaming(folder: PartialFolder, *, is_shared: bool) -> None:
    """Finish a preparation that was killed while it got its final name."""
    if folder.manifest.exists():
        with folder.hold(is_shared=is_shared):
            put_in_place(folder)


def _prepare(config: PrepareConfig, folder: PartialFolder, workers: Workers) -> Manifest | None:
    """Do the missing work; return the manifest if the whole is complete then."""
    base = find_base(config)
    tokenizer = load_tokenizer(config.tokenizer)
    make_packer(config, describe_tokenizer(tokenizer))  # raises if they do not go together
    if base is not None:
        check_same_options(base, config, tokenizer)
    sources = _find_sources(config, folder, tokenizer, base)
    workers.get_ready(sum(source.bytes for source in sources))
    done = ""
    if base is not None:
        sources = new_sources(base, sources)
        done = "" if sources else "already holds all of these files; nothing to append"
    elif is_complete(config, sources, tokenizer):
        done = "is complete: the same files and options; nothing to do"
    else:
        check_output(config.output, overwrite=config.overwrite)
    if config.restart:
        folder.discard()
    if done:
        print(printable(f"{config.output} {done}"))
        return None
    if not folder.plan.exists():
        keeps_texts = config.near_duplicates != "keep"
        check_space(config.output, sources, tokenizer, keeps_texts=keeps_texts)
    warn_of_cost(config)
    folder.create()
    with folder.only_one(f"part-{config.part}-of-{config.parts}"):
        plan = choose_plan(config, folder, tokenizer, sources, base)
        if config.overwrite:
            folder.replacing.touch()
        units = _units_of(plan, config)
        _make_drafts(plan, folder, units, workers)
        if config.part:
            text = (
                f"part {config.part} of {config.parts} is done, {len(units)} of "
                f"{plural(len(plan.units), 'unit')}\nnext        when all parts are done: "
                f"{command('python', '-m', 'data_tools', 'finish', config.output)}"
            )
            print(printable(text))
            return None
        return _complete(plan, folder, base, workers)


def _find_sources(
    config: PrepareConfig,
    folder: PartialFolder,
    tokenizer: TextTokenizer,
    base: Manifest | None,
) -> Sequence[SourceFile]:
    """Return the inspected input files, without those that were dropped from this preparation.

    Raises:
        UserError: The input is not valid.
    """

    def find() -> list[Path]:
        return [path for path in find_files(config.input) if not folder.owns(path)]

    if config.restart or not folder.plan.exists():
        return inspect_all(find(), config)
    plan = read_plan(folder.plan)
    if config.drop_changed:
        found: list[Path] = []
        with contextlib.suppress(UserError):  # the name of a file that is gone matches nothing
            found = find()
        refuse_new(plan, found, base)
        check_request(plan, config, folder, tokenizer, base)  # a dropped file does not come back
        return list(drop_changed(folder, only_missing=False).remaining.values())
    dropped = {plan.source(number).path for number in plan.dropped}
    try:
        files = find()
        announce_dropped(plan, files)
        return inspect_all([path for path in files if path not in dropped], config)
    except UserError as error:
        if not has_touched(plan):
            raise
        raise UserError(
            f"{error}; {folder.path} holds an unfinished preparation: --drop-changed continues it "
            "without the files that are gone or changed"
        ) from error


def _units_of(plan: PreparePlan, config: PrepareConfig) -> list[Unit]:
    """Deal the units to the parts in turn, so that each part gets some of every file."""
    return list(plan.units[config.part - 1 :: config.parts] if config.part else plan.units)


def _make_drafts(
    plan: PreparePlan, folder: PartialFolder, units: Sequence[Unit], workers: Workers
) -> None:
    """Make the drafts that are missing."""
    missing = _undrafted(plan, folder, units)
    for unit in missing:
        for path in folder.drafts.glob(f"{unit.number:05d}.*.tmp"):
            path.unlink(missing_ok=True)  # of a process that was killed
    _run_phase(_DRAFTING, folder, units, missing, workers)


def _complete(
    plan: PreparePlan, folder: PartialFolder, base: Manifest | None, workers: Workers
) -> Manifest:
    """Make shards of the drafts and give them their final name."""
    decide(plan, folder, base)
    missing = [unit for unit in plan.units if not is_finished(plan, folder, unit)]
    _run_phase(_PACKING, folder, plan.units, missing, workers)
    manifest = assemble(plan, folder, base)
    try:
        lists = [folder.draft(unit.number, "set_aside") for unit in plan.units]
        summary.check_not_empty(manifest, lists)
    except UserError:
        folder.discard()  # there is nothing to continue with
        raise
    seal(manifest, plan, folder, base)
    put_in_place(folder)
    return manifest


def _run_phase(
    phase: Phase,
    folder: PartialFolder,
    units: Sequence[Unit],
    missing: Sequence[Unit],
    workers: Workers,
) -> None:
    """Run a phase for the missing ones of some units, with a line of progress."""
    total = sum(unit.bytes for unit in units)
    done = total - sum(unit.bytes for unit in missing)
    progress = Progress(phase.label, total, before=done)
    try:
        # The largest first, so that all processes end at about the same time.
        numbers = [unit.number for unit in sorted(missing, key=lambda unit: -unit.bytes)]
        workers.run(phase, folder.output, numbers, progress=progress, done=done)
    finally:
        progress.close()


def _undrafted(plan: PreparePlan, folder: PartialFolder, units: Sequence[Unit]) -> list[Unit]:
    """Return the units that still need a draft."""
    return [
        unit
        for unit in units
        if not has_draft(plan, folder, unit) and not is_finished(plan, folder, unit)
    ]


def _check_drafts(plan: PreparePlan, folder: PartialFolder) -> None:
    """Refuse to finish while drafts are missing.

    Raises:
        UserError: Drafts are missing.
    """
    first = plan.units[0].number if plan.units else 0  # parts are dealt by place, not by number
    missing = [unit.number - first for unit in _undrafted(plan, folder, plan.units)]
    if missing:
        some = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise UserError(
            f"{len(missing)} of {plural(len(plan.units), 'unit')} are not prepared yet ({some}); "
            "run the missing parts (unit U belongs to --part (U mod N) + 1 of --parts N), then "
            "finish again; if input files of these units are gone, finish with --drop-changed"
        )
