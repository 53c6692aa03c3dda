"""The corpora of a run: their folders, weights and names, opened and compared. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from gpt2zh.config.errors import UserError, attempt
from gpt2zh.config.schema import PretrainConfig
from gpt2zh.data.manifest import TOKENIZER_DIR, Manifest
from gpt2zh.data.shard import TRAIN, VALIDATION, ShardSet
from gpt2zh.data.shard_data import Corpus, ShardData
from gpt2zh.pages.console import command
from gpt2zh.plan.skipped_rows import read_rows
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


@dataclass(frozen=True)
class WeightedFolder:
    """One value of `--data`."""

    path: Path
    weight: float | None
    """Its share of the tokens, relative to the other weights; None: its size decides."""


def read_folder(text: str) -> WeightedFolder:
    """Read `FOLDER` or `FOLDER:WEIGHT`; a folder whose name contains the colon comes first.

    Raises:
        UserError: The weight is not a number above 0.
    """
    path, _, weight = text.rpartition(":")
    if not path or Path(text).exists():
        return WeightedFolder(Path(text), None)
    try:
        number = float(weight)
    except ValueError as error:
        raise UserError(
            f"--data {text}: there is no such folder, and '{weight}' is not a valid weight; write "
            "FOLDER or FOLDER:0.5"
        ) from error
    if not 0 < number < math.inf:
        raise UserError(
            f"--data {text}: a weight must be above 0; leave out a folder that should not be read"
        )
    return WeightedFolder(Path(path), number)


def open_shards(config: PretrainConfig, world: World, faults: list[str]) -> ShardData | None:
    """Open all folders that `config.data` names.

    Files are only read; rank 0 alone reads all their bytes.

    Args:
        config: Names the folders.
        world: This rank's place.
        faults: Gets one sentence for each fault.

    Returns:
        The data, also where something else is wrong with it, so that its other faults are found in
        the same start; None if it cannot be opened.
    """
    if config.model.context < 2:
        return None  # the checks of the config report it
    corpora = _open_corpora(config, world, faults)
    rows = sum(corpus.train.rows for corpus in corpora)
    skipped = attempt(lambda: read_rows(config.skip_rows, rows=rows), faults) if rows else None
    tokenizer = _tokenizer(corpora[0], faults) if corpora else None
    if tokenizer is None or skipped is None:
        return None
    return ShardData(
        corpora,
        tokenizer,
        seed=config.seed,
        row_length=config.model.context,
        lengths=config.train.sequence_length_warmup,
        skipped=skipped,
    )


def _open_corpora(config: PretrainConfig, world: World, faults: list[str]) -> list[Corpus]:
    if not config.data:
        faults.append("--data is empty; give at least one folder of shards")
        return []
    read = [attempt(partial(read_folder, text), faults) for text in config.data]
    folders = [folder for folder in read if folder is not None]
    if len({folder.weight is None for folder in folders}) == 2:
        faults.append(
            f"--data {' '.join(config.data)}: some folders have a weight and some have none; give "
            "all of them a weight, or none to read each as often as the others"
        )
    names = names_of([folder.path for folder in folders])
    found = [
        _open(folder, name, config, world, faults)
        for folder, name in zip(folders, names, strict=True)
    ]
    corpora = [corpus for corpus in found if corpus is not None]
    faults += [fault for other in corpora[1:] for fault in _differences(corpora[0], other)]
    return corpora


def _tokenizer(first: Corpus, faults: list[str]) -> TextTokenizer | None:
    """Load the tokenizer in a folder of shards, and check that it made the shards."""
    where = first.folder / TOKENIZER_DIR
    tokenizer = attempt(lambda: load_tokenizer(str(where)), faults)
    if tokenizer is not None and tokenizer.hash != first.manifest.tokenizer.hash:
        faults.append(
            f"{where} is not the tokenizer that made these shards ({tokenizer.hash[:12]} there, "
            f"{first.manifest.tokenizer.hash[:12]} in the manifest); restore it or prepare the "
            "data again"
        )
    return tokenizer


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that are all different; equal paths get numbers."""
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path[-1]}-{number}" for path, number in zip(parts, count(1), strict=False)]


def _open(
    folder: WeightedFolder, name: str, config: PretrainConfig, world: World, faults: list[str]
) -> Corpus | None:
    def shards(split: str) -> ShardSet | None:
        length = config.model.context
        opened = attempt(lambda: ShardSet.open(folder.path, split, row_length=length), faults)
        if opened is not None and config.verify_data and world.is_main:
            attempt(lambda: _verify(opened, world), faults)
        return opened

    train = shards(TRAIN)
    if train is None:
        return None
    held_out = shards(VALIDATION) if train.manifest.splits[VALIDATION].rows else None
    if not train.rows:
        faults.append(f"{folder.path} has no training rows; leave it out or add text to it")
        return None
    weight = folder.weight or float(train.tokens)  # each as often as the others
    return Corpus(name, folder.path, weight, train.manifest, train, held_out)


def _verify(shards: ShardSet, world: World) -> None:
    size = sum(entry.bytes for entry in shards.manifest.splits[shards.split].shards)
    if size > 1e9:
        say(
            world,
            f"checking    {size / 1e9:.1f} GB of {shards.split} shards "
            "(--verify-data=false leaves this out)",
        )
    shards.verify()


def _differences(first: Corpus, other: Corpus) -> list[str]:
    """Return why one model cannot read both corpora, one sentence each."""
    found = []
    here, there = first.manifest, other.manifest
    folders = first.folder, other.folder
    if here.tokenizer.hash != there.tokenizer.hash:
        found.append(
            f"{folders[0]} was made with the tokenizer {_named(here)} and {folders[1]} with "
            f"{_named(there)}, but a model has only one; prepare one of them again with "
            f"{command('--tokenizer', folders[0] / TOKENIZER_DIR)}"
        )
    if here.packing != there.packing:
        found.append(
            f"{folders[0]} is packed by {here.packing} and {folders[1]} by {there.packing}; "
            f"prepare one of them again with --packing {here.packing}"
        )
    return found


def _named(manifest: Manifest) -> str:
    return f"{manifest.tokenizer.name} ({manifest.tokenizer.hash[:12]})"
