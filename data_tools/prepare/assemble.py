"""Finished units to a folder of shards: manifest, ledger, and all of it under its final name."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools.config import PrepareConfig
from data_tools.ledger import check_ledger
from data_tools.prepare.draft import most_common
from data_tools.prepare.pack import all_splits, describe_file, read_draft
from data_tools.prepare.place import Place
from data_tools.prepare.plan import Plan
from data_tools.split import HASH_NAME
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import (
    MANIFEST,
    SET_ASIDE,
    TOKENIZER_DIR,
    Count,
    Extent,
    Manifest,
    Source,
    SplitRule,
    build_split,
    build_unit,
    write_manifest,
)

_UNKNOWN_KEPT = 100


def assemble(
    config: PrepareConfig,
    plan: Plan,
    place: Place,
    base: Manifest | None,
) -> Manifest:
    """Join the finished units into a manifest, behind those of `base`.

    Raises:
        UserError: The ledger does not sum up.
    """
    drafts = [read_draft(place, unit.number) for unit in plan.units]
    finished = [json.loads(place.unit(unit.number).read_text("utf-8")) for unit in plan.units]
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
        split_rule=SplitRule(hash=HASH_NAME, validation_fraction=config.validation_fraction),
        splits=all_splits([*([base.splits] if base else []), *parts]),
        sources=(*(base.sources if base else ()), *_sources(plan, drafts, finished)),
        units=(*(base.units if base else ()), *(build_unit(unit["unit"]) for unit in finished)),
        options=plan.options,
        unknown=most_common(unknown, _UNKNOWN_KEPT),
    )
    check_ledger(manifest)
    return manifest


def seal(manifest: Manifest, plan: Plan, place: Place, base: Manifest | None) -> None:
    """Write what was still missing, the manifest last."""
    _join_set_aside(plan, place, base)
    tokenizer = sorted((place.output if base else place.path).glob(f"{TOKENIZER_DIR}/*.json"))
    extras = [describe_file(place.path / SET_ASIDE)]
    extras += [
        replace(describe_file(path), file=f"{TOKENIZER_DIR}/{path.name}") for path in tokenizer
    ]
    place.appending.unlink(missing_ok=True)
    if base:
        place.appending.touch()
    write_manifest(place.path, replace(manifest, extras=tuple(extras)))


def put_in_place(place: Place) -> None:
    """Give a complete preparation its name; killed and begun again, it goes on.

    Raises:
        UserError: Something else got that name meanwhile.
    """
    if place.appending.exists():
        return _put_into_output(place)
    output = place.output
    shutil.rmtree(place.work, ignore_errors=True)
    place.sweep()
    if output.exists() and any(output.iterdir()):
        if not place.replacing.exists():
            raise UserError(
                f"output {output} appeared while {place.path} was made; move one of them to "
                "another name"
            )
        output.replace(tempfile.mkdtemp(prefix=_aside(output), dir=output.parent))
    place.replacing.unlink(missing_ok=True)
    place.release_name()
    place.path.replace(output)
    for aside in output.parent.glob(f"{glob.escape(_aside(output))}*"):
        shutil.rmtree(aside, ignore_errors=True)


def _aside(output: Path) -> str:
    """Return how the name of an output begins that is being replaced."""
    return f".{output.name}.replaced-by-prepare."


def _put_into_output(place: Place) -> None:
    """Move what was appended to the shards that were there."""
    for path in sorted(place.path.iterdir()):
        if path.suffix in (".arrow", ".parquet", ".u64"):
            path.replace(place.output / path.name)
    if (place.path / SET_ASIDE).exists():
        (place.path / SET_ASIDE).replace(place.output / SET_ASIDE)
    place.plan.unlink(missing_ok=True)
    place.manifest.replace(place.output / MANIFEST)  # from now on the new shards count
    place.discard()


def _sources(plan: Plan, drafts: list[dict], finished: list[dict]) -> list[Source]:
    """Add up what the units say about each source."""
    accounts: dict[int, dict[str, Any]] = {}
    for draft, unit in zip(drafts, finished, strict=True):
        for piece in draft["pieces"]:
            account = accounts.setdefault(piece["source"], _empty_account())
            account["records"] += piece["records"]
            account["read"] += piece["read"]
            account["extents"].append(Extent(**piece["extent"]))
            _add_fates(account["fates"], piece["fates"])
        for source, said in unit["sources"].items():
            account = accounts[int(source)]
            account["characters"] += said["characters"]
            account["tokens"] += said["tokens"]
            _add_fates(account["fates"], said["fates"])
    sources = []
    for number, file in enumerate(plan.sources, plan.first_source):
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


def _join_set_aside(plan: Plan, place: Place, base: Manifest | None) -> None:
    """Write one list of what was set aside, behind the one that is there."""
    with (place.path / SET_ASIDE).open("wb") as out:
        parts = [place.draft(unit.number, "set_aside") for unit in plan.units]
        for path in ([place.output / SET_ASIDE] if base else []) + parts:
            with path.open("rb") as file:
                shutil.copyfileobj(file, out)
        out.flush()
        os.fsync(out.fileno())
