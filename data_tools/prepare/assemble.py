"""Join finished units to a folder of shards with a manifest, and give it its final name."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from data_tools.prepare.formats import (
    DraftRecord,
    UnitRecord,
    describe_file,
    most_common,
    read_blocks,
    read_draft,
    read_unit,
)
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan
from data_tools.shards.ledger import check_ledger
from data_tools.shards.near_table import is_near_table, near_tables
from data_tools.shards.output import is_taken
from data_tools.shards.split import HASH_NAME
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import (
    MANIFEST,
    SET_ASIDE,
    TOKENIZER_DIR,
    Count,
    Extent,
    Manifest,
    Source,
    Split,
    SplitRule,
    build_split,
    build_unit,
    read_manifest,
    write_manifest,
)
from gpt2zh.data.shard import TRAIN, VALIDATION

_UNKNOWN_KEPT = 100


def assemble(plan: PreparePlan, folder: PartialFolder, base: Manifest | None) -> Manifest:
    """Return the manifest of the finished units, after those of `base`.

    Raises:
        UserError: The ledger does not sum up.
    """
    config = plan.config
    drafts = [read_draft(folder, unit.number) for unit in plan.units]
    finished = [read_unit(folder, unit.number) for unit in plan.units]
    parts = [
        {name: build_split(split) for name, split in unit["splits"].items()} for unit in finished
    ]
    unknown = Counter[str](base.unknown if base else {})
    for draft in drafts:
        unknown.update(draft["unknown"])
    manifest = Manifest(
        tokenizer=plan.tokenizer,
        row_length=config.row_length,
        packing=config.packing,
        split_rule=SplitRule(
            hash=HASH_NAME,
            validation_fraction=config.validation_fraction,
            block_tokens=_block_tokens(folder, base),
        ),
        splits=_join_splits([*([base.splits] if base else []), *parts]),
        sources=(*(base.sources if base else ()), *_sources(plan, drafts, finished)),
        units=(*(base.units if base else ()), *(build_unit(unit["unit"]) for unit in finished)),
        options=plan.options,
        unknown=most_common(unknown, _UNKNOWN_KEPT),
    )
    check_ledger(manifest)
    return manifest


def _block_tokens(folder: PartialFolder, base: Manifest | None) -> int:
    """Return the tokens of the blocks that are held out of documents; 0 if there are none."""
    blocks = read_blocks(folder)
    if blocks is not None:
        return blocks["length"]
    return base.split_rule.block_tokens if base else 0


def seal(
    manifest: Manifest, plan: PreparePlan, folder: PartialFolder, base: Manifest | None
) -> None:
    """Write the files that are still missing, the manifest last."""
    _join_set_aside(plan, folder, base)
    tokenizer = sorted((folder.output if base else folder.path).glob(f"{TOKENIZER_DIR}/*.json"))
    extras = [describe_file(folder.path / SET_ASIDE)]
    extras += [entry for entry in (base.extras if base else ()) if is_near_table(entry.file)]
    extras += [describe_file(path) for path in near_tables(folder.path)]
    extras += [
        replace(describe_file(path), file=f"{TOKENIZER_DIR}/{path.name}") for path in tokenizer
    ]
    folder.appending.unlink(missing_ok=True)
    if base:
        folder.appending.touch()
    write_manifest(folder.path, replace(manifest, extras=tuple(extras)))


def put_in_place(folder: PartialFolder) -> None:
    """Give a complete preparation its name; if it is killed, call it again.

    Raises:
        UserError: Something else has got that name meanwhile.
    """
    if folder.appending.exists():
        return _put_into_output(folder)
    output = folder.output
    shutil.rmtree(folder.work, ignore_errors=True)
    folder.sweep()
    if is_taken(output):
        if not folder.replacing.exists():
            raise UserError(
                f"output {output} appeared while {folder.path} was made; rename one of them"
            )
        output.replace(tempfile.mkdtemp(prefix=_aside(output), dir=output.parent))
    folder.replacing.unlink(missing_ok=True)
    folder.release_name()
    folder.path.replace(output)
    for aside in output.parent.glob(f"{glob.escape(_aside(output))}*"):
        shutil.rmtree(aside, ignore_errors=True)


def _aside(output: Path) -> str:
    """Return how the temporary name of a replaced output begins."""
    return f".{output.name}.replaced-by-prepare."


def _put_into_output(folder: PartialFolder) -> None:
    """Move appended shards to the existing ones.

    Raises:
        UserError: Other shards have their name now.
    """
    joined, there = read_manifest(folder.path), read_manifest(folder.output)
    if joined.units[: len(there.units)] != there.units:
        raise UserError(
            f"{folder.output} does not hold the shards that those in {folder.path} belong to; put "
            "them back, or remove that folder and append again"
        )
    for path in sorted(folder.path.iterdir()):
        if path.suffix in (".arrow", ".parquet", ".u8"):
            path.replace(folder.output / path.name)
    if (folder.path / SET_ASIDE).exists():
        (folder.path / SET_ASIDE).replace(folder.output / SET_ASIDE)
    folder.plan.unlink(missing_ok=True)
    folder.manifest.replace(folder.output / MANIFEST)  # from now on the new shards count
    folder.discard()


def _join_splits(parts: Sequence[dict[str, Split]]) -> dict[str, Split]:
    """Add up the splits of units; shards keep their order."""
    return {name: _sum_splits([part[name] for part in parts]) for name in (TRAIN, VALIDATION)}


def _sum_splits(parts: Sequence[Split]) -> Split:
    counts = [field.name for field in fields(Split) if field.name != "shards"]
    sums = {name: sum(getattr(part, name) for part in parts) for name in counts}
    return Split(**sums, shards=tuple(shard for part in parts for shard in part.shards))


def _sources(
    plan: PreparePlan, drafts: Sequence[DraftRecord], finished: Sequence[UnitRecord]
) -> list[Source]:
    """Add up the counts of the units for each source."""
    accounts: dict[int, dict[str, Any]] = {}
    for draft, unit in zip(drafts, finished, strict=True):
        for part in draft["slices"]:
            account = accounts.setdefault(part["source"], _empty_account())
            account["records"] += part["records"]
            account["read"] += part["read"]
            account["extents"].append(Extent(**part["extent"]))
            _add_fates(account["fates"], part["fates"])
        for source, kept in unit["sources"].items():
            account = accounts[int(source)]
            account["records"] += kept.get("added", 0)  # absent in records of earlier versions
            account["characters"] += kept["characters"]
            account["tokens"] += kept["tokens"]
            _add_fates(account["fates"], kept["fates"])
    sources = []
    for number, file in plan.remaining.items():
        account = accounts.get(number, _empty_account())
        account["extents"] = tuple(account["extents"])
        account["fates"] = dict(sorted(account["fates"].items()))
        sources.append(
            Source(
                path=file.path.as_posix(),
                format=file.format,
                compression=file.compression,
                encoding=file.encoding,
                bytes=file.bytes,
                **account,
            )
        )
    return sources


def _empty_account() -> dict[str, Any]:
    return {"records": 0, "read": 0, "fates": {}, "characters": 0, "tokens": 0, "extents": []}


def _add_fates(fates: dict[str, Count], more: dict[str, dict[str, int]]) -> None:
    for fate, count in more.items():
        if any(count.values()):
            fates[fate] = fates.get(fate, Count()) + Count(**count)


def _join_set_aside(plan: PreparePlan, folder: PartialFolder, base: Manifest | None) -> None:
    """Write one list of everything that was set aside, after that of `base`."""
    with (folder.path / SET_ASIDE).open("wb") as out:
        parts = [folder.draft(unit.number, "set_aside") for unit in plan.units]
        for path in ([folder.output / SET_ASIDE] if base else []) + parts:
            with path.open("rb") as file:
                shutil.copyfileobj(file, out)
        out.flush()
        os.fsync(out.fileno())
