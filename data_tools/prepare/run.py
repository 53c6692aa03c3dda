"""The verbs `prepare` and `finish`: from a request to a folder of shards.

Everything that can be wrong with the request is checked before the work begins, and what was
complete before is found and kept.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools import report
from data_tools.clean.cleaner import Cleaner
from data_tools.clean.near import Signer
from data_tools.clean.options import clean_faults
from data_tools.config import FinishConfig, PrepareConfig
from data_tools.prepare.assemble import assemble, put_in_place, seal
from data_tools.prepare.decide import decide
from data_tools.prepare.draft import Kit, make_draft
from data_tools.prepare.pack import make_packer, pack_unit, read_draft
from data_tools.prepare.place import Place, only_one, room_needed, write_whole
from data_tools.prepare.plan import (
    Plan,
    Unit,
    config_of,
    defining_options,
    describe_tokenizer,
    differences,
    make_plan,
    option_differences,
    plan_text,
    read_plan,
)
from data_tools.prepare.workers import run_units
from data_tools.progress import Progress
from data_tools.sources.cut import Slice
from data_tools.sources.find import SourceFile, find_files, inspect_all
from data_tools.sources.read import slice_digest
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.data.manifest import MANIFEST, Manifest, Source, read_manifest
from gpt2zh.data.packing import SMALLEST_ROW
from gpt2zh.data.shard import token_dtype
from gpt2zh.text.spans import make_encoder
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


def run(config: PrepareConfig) -> None:
    """Prepare a folder of shards, or a part of one, and print what is in it."""
    begun = time.monotonic()
    check_options(config)
    place = Place(config.output)
    if place.manifest.exists():  # killed while it got its name
        put_in_place(place)
    if config.restart:
        place.discard()
    base = _base(config)
    sources: Sequence[SourceFile] = inspect_all(find_files(config.input), config)
    tokenizer = load_tokenizer(config.tokenizer)
    make_packer(
        config, describe_tokenizer(tokenizer)
    )  # whether the tokenizer can serve this packing is known now
    if _is_complete(config, sources, tokenizer):
        return
    if base is not None:
        _check_same_options(base, config, tokenizer)
        sources = _new_ones(base, sources)
        if not sources:
            print(f"{config.output} holds all of these files already; nothing to append")
            return
    if not place.plan.exists():
        _check_space(config.output, sources, tokenizer)
    place.create()
    name = f"part-{config.part}-of-{config.parts}" if config.part else "prepare"
    with room_needed(config.output), only_one(place.lock(name), "preparing"):
        plan = _settle(config, place, tokenizer, sources, base)
        if config.overwrite:
            place.replacing.touch()
        mine = _units_of(plan, config)
        _make_drafts(plan, place, mine, config.workers)
        if config.part:
            print(
                f"part {config.part} of {config.parts} is done: {len(mine)} of {len(plan.units)} "
                f"units, {time.monotonic() - begun:.1f} s\n"
                "next        when all parts are done: "
                f"python -m data_tools finish {config.output}"
            )
            return
        manifest = _complete(plan, place, base, config.workers)
    _tell(manifest, config.output, begun)


def finish(config: FinishConfig) -> None:
    """Join the parts of a preparation and print what is in it."""
    begun = time.monotonic()
    place = Place(config.shards)
    if place.manifest.exists():  # killed while it got its name
        put_in_place(place)
        return _tell(read_manifest(config.shards), config.shards, begun)
    if not place.plan.exists():
        raise UserError(
            f"{place.path} holds no preparation to finish; make its parts with `python -m "
            f"data_tools prepare --part I --parts N --output {config.shards} ...`"
        )
    plan = read_plan(place.plan)
    base = read_manifest(config.shards) if plan.base else None
    with room_needed(config.shards), only_one(place.lock("finish"), "finishing"):
        _check_drafts(plan, place)
        manifest = _complete(plan, place, base, config.workers)
    _tell(manifest, config.shards, begun)


def check_options(config: PrepareConfig) -> None:
    """Check what needs no file.

    Raises:
        UserError: Options are out of their range; all of them are named.
    """
    faults = []
    if config.row_length < SMALLEST_ROW:
        faults.append(
            f"--row-length {config.row_length} is too short; give at least {SMALLEST_ROW} tokens "
            "(512 is usual)"
        )
    if not 0 <= config.validation_fraction < 1:
        faults.append(
            f"--validation-fraction {config.validation_fraction} is no share; give a number from 0 "
            "to below 1, such as 0.005"
        )
    if config.shard_rows < 1:
        faults.append(f"--shard-rows {config.shard_rows} is too few; give at least 1 row")
    if config.unit_bytes < 1:
        faults.append(f"--unit-bytes {config.unit_bytes} is too few; 32000000 is usual")
    if config.workers < 0:
        faults.append(f"--workers {config.workers} is no number of processes; 0 takes all cores")
    if (config.part or config.parts != 1) and not 1 <= config.part <= config.parts:
        faults.append(
            f"--part {config.part} --parts {config.parts} do not go together; give a part from 1 "
            "to the number of parts"
        )
    if config.append and config.overwrite:
        faults.append("--append and --overwrite exclude each other; leave one out")
    if not config.input:
        faults.append("--input names nothing; give a quoted glob such as 'corpus/**/*.csv'")
    raise_all(faults + clean_faults(config), "the options")


def _base(config: PrepareConfig) -> Manifest | None:
    """Look at what stands where the output shall be; return what is appended to."""
    output = config.output
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file; name a folder that does not exist yet")
    if config.append:
        if not (output / MANIFEST).is_file():
            raise UserError(f"--append adds to shards, but {output} holds none; leave it out")
        return read_manifest(output)
    taken = output.exists() and any(output.iterdir())
    if config.overwrite and taken and not (output / MANIFEST).is_file():
        raise UserError(
            f"output {output} is no folder of shards (no {MANIFEST}), so --overwrite does not "
            "touch it; name another folder"
        )
    return None


def _is_complete(
    config: PrepareConfig, sources: Sequence[SourceFile], tokenizer: TextTokenizer
) -> bool:
    """Tell whether just this is prepared already.

    Raises:
        UserError: The output is taken by something else.
    """
    output = config.output
    if config.append or not output.exists() or not any(output.iterdir()):
        return False
    if (output / MANIFEST).is_file():
        manifest = read_manifest(output)
        same_options = manifest.options == defining_options(config, tokenizer)
        if same_options and not _changes(manifest, sources):
            print(f"{output} is complete: the same files with the same options; nothing to do")
            return True
    if config.overwrite:
        return False
    raise UserError(
        f"output {output} exists already; name another folder, remove it, or, where it holds "
        "shards, replace it with --overwrite or add new files with --append"
    )


def _changes(manifest: Manifest, sources: Sequence[SourceFile]) -> list[str]:
    """Say what distinguishes the sources of a manifest from these."""
    known = {source.path: source for source in manifest.sources}
    given = {source.path.as_posix(): source for source in sources}
    lines = [f"{path} is missing" for path in known.keys() - given.keys()]
    lines += [f"{path} is new" for path in given.keys() - known.keys()]
    lines += [f"{p} changed" for p in known.keys() & given.keys() if _differs(known[p], given[p])]
    return lines


def _differs(known: Source, source: SourceFile) -> bool:
    """Compare a file with what was read of it, to the last byte."""
    return known.bytes != source.bytes or any(
        slice_digest(source, Slice(extent.begin, extent.end, extent.line)) != extent.digest
        for extent in known.extents
    )


def _new_ones(base: Manifest, sources: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the sources that the shards do not hold yet.

    Raises:
        UserError: One that they hold is not what it was.
    """
    known = {source.path: source for source in base.sources}
    changed = [
        f"{source.path} is in the shards already, but its content changed since; prepare "
        "everything again with --overwrite"
        for source in sources
        if source.path.as_posix() in known and _differs(known[source.path.as_posix()], source)
    ]
    raise_all(changed, "--append")
    return [source for source in sources if source.path.as_posix() not in known]


def _check_same_options(base: Manifest, config: PrepareConfig, tokenizer: TextTokenizer) -> None:
    lines = option_differences(base.options, defining_options(config, tokenizer))
    if lines:
        raise UserError(
            f"--append needs the options that {config.output} was made with, but "
            + "; ".join(lines)
            + "; give them as they were, or prepare everything again with --overwrite"
        )


def _settle(
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
    if not place.plan.exists():
        plan = make_plan(config, tokenizer, sources, base)
        _save_tokenizer(tokenizer, place)
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


def _changed_content(plan: Plan, place: Place, touched: Sequence[SourceFile]) -> list[str]:
    """Compare files of another time with what complete drafts read of them."""
    by_path = {source.path: source for source in touched}
    lines = []
    for unit in plan.units:
        if not _has_draft(plan, place, unit):
            continue
        for piece in read_draft(place, unit.number)["pieces"]:
            source = by_path.get(plan.source(piece["source"]).path)
            extent = piece["extent"]
            part = Slice(extent["begin"], extent["end"], extent["line"])
            if source and slice_digest(source, part) != extent["digest"]:
                lines.append(f"the content of {source.path} changed")
    return sorted(set(lines))


def _save_tokenizer(tokenizer: TextTokenizer, place: Place) -> None:
    """Save the tokenizer for all processes; of several that try, the first one does."""
    if place.tokenizer.exists():
        shutil.rmtree(place.tokenizer)  # of a plan that was never written
    temporary = place.tokenizer.with_name(f"{place.tokenizer.name}.{os.getpid()}.tmp")
    tokenizer.save(temporary)
    try:
        temporary.replace(place.tokenizer)
    except OSError:
        shutil.rmtree(temporary)
        if not place.tokenizer.exists():
            raise


def _units_of(plan: Plan, config: PrepareConfig) -> list[Unit]:
    """Deal the units to the parts in turn, so that each gets some of every file."""
    return list(plan.units[config.part - 1 :: config.parts] if config.part else plan.units)


def _has_draft(plan: Plan, place: Place, unit: Unit) -> bool:
    path = place.draft(unit.number, "json")
    return path.exists() and read_draft(place, unit.number)["plan"] == plan.identity


def _is_finished(plan: Plan, place: Place, unit: Unit) -> bool:
    path = place.unit(unit.number)
    return path.exists() and json.loads(path.read_text("utf-8"))["plan"] == plan.identity


def _make_drafts(plan: Plan, place: Place, units: Sequence[Unit], workers: int) -> None:
    """Make the drafts that are missing."""
    missing = [
        unit
        for unit in units
        if not _has_draft(plan, place, unit) and not _is_finished(plan, place, unit)
    ]
    for unit in missing:
        for path in place.drafts.glob(f"{unit.number:05d}.*.tmp"):
            path.unlink(missing_ok=True)  # of a process that was killed
    _go_through(_draft_task, _begin_drafts, plan, place, units, missing, workers, "preparing")


def _complete(plan: Plan, place: Place, base: Manifest | None, workers: int) -> Manifest:
    """From drafts to shards under their final name."""
    config = config_of(plan, place.output)
    decide(config, plan, place, base)
    missing = [unit for unit in plan.units if not _is_finished(plan, place, unit)]
    _go_through(_pack_task, _begin_packing, plan, place, plan.units, missing, workers, "packing")
    manifest = assemble(config, plan, place, base)
    try:
        report.check_not_empty(manifest)
    except UserError:
        place.discard()  # nothing in it is worth going on with
        raise
    seal(manifest, plan, place, base)
    put_in_place(place)
    return manifest


def _go_through(
    task: Callable[..., None],
    begin: Callable[[Path], Any],
    plan: Plan,
    place: Place,
    units: Sequence[Unit],
    missing: Sequence[Unit],
    workers: int,
    label: str,
) -> None:
    total = sum(unit.bytes for unit in units)
    progress = Progress(label, total)
    try:
        run_units(
            task,
            begin,
            (place.output,),
            [unit.number for unit in missing],
            workers=workers or len(os.sched_getaffinity(0)),
            progress=progress,
            done=total - sum(unit.bytes for unit in missing),
        )
    finally:
        progress.close()


def _begin_drafts(output: Path) -> Kit:
    """Make what a process needs to draft units; everything is found in the place."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a process for each core
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


def _draft_task(kit: Kit, number: int, advance: Callable[[int], None]) -> None:
    make_draft(kit, kit.plan.unit(number), advance)


def _begin_packing(output: Path) -> tuple[PrepareConfig, Plan, Place]:
    place = Place(output)
    plan = read_plan(place.plan)
    return config_of(plan, output), plan, place


def _pack_task(
    tools: tuple[PrepareConfig, Plan, Place], number: int, advance: Callable[[int], None]
) -> None:
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
        if not _has_draft(plan, place, unit) and not _is_finished(plan, place, unit)
    ]
    if missing:
        some = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise UserError(
            f"{len(missing)} of {len(plan.units)} units are not prepared yet ({some}); run the "
            "parts that are missing (unit U belongs to --part (U mod N) + 1 of --parts N), then "
            "finish again"
        )


def _check_space(output: Path, sources: Sequence[SourceFile], tokenizer: TextTokenizer) -> None:
    """Compare the free space with an estimate of the output: one token for 3 bytes of text.

    Raises:
        UserError: It will not fit.
    """
    size = sum(source.bytes * (3 if source.compression else 1) for source in sources)
    needed = size * token_dtype(tokenizer.vocab_size).itemsize // 3
    parent = next(folder for folder in output.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(
            f"output {output} needs about {needed / 1e9:.2f} GB, its disk has {free / 1e9:.2f} GB "
            "free; free some space or choose an output folder on another disk"
        )


def _tell(manifest: Manifest, output: Path, begun: float) -> None:
    report.warn(manifest)
    print(report.summary(manifest, output, seconds=time.monotonic() - begun))
