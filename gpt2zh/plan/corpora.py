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
from gpt2zh.data.manifest import TOKENIZER_DIR, Manifest, Split
from gpt2zh.data.shard import TRAIN, VALIDATION, ShardSet
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.world import World


@dataclass(frozen=True)
class Choice:
    """One value of `--data`."""

    folder: Path
    weight: float | None
    """Tokens of it in relation to the others'; None leaves that to the sizes."""


@dataclass(frozen=True)
class Corpus:
    """One folder of shards, opened."""

    name: str
    """Its folder, as far as needed to tell it from the others."""
    choice: Choice
    manifest: Manifest
    train: ShardSet
    held_out: ShardSet | None
    """The validation split; None if it is empty."""

    @property
    def validation(self) -> Split:
        """What is known about the text held out."""
        return self.manifest.splits[VALIDATION]

    @property
    def weight(self) -> float:
        """Tokens read of it in relation to the others'; without a choice as many as it has."""
        return self.choice.weight or float(self.train.tokens)

    @property
    def share(self) -> float:
        """Rows read of it in relation to the others'; not all are full of tokens."""
        return self.weight * self.train.rows / self.train.tokens


def read_choice(text: str) -> Choice:
    """Read a folder, or a folder, a colon and its weight; what exists under the whole name wins.

    Raises:
        UserError: The weight is no number above 0.
    """
    path, _, weight = text.rpartition(":")
    if not path or Path(text).exists():
        return Choice(Path(text), None)
    try:
        number = float(weight)
    except ValueError as error:
        raise UserError(
            f"--data {text}: there is no such folder, and '{weight}' is no weight; write FOLDER "
            "or FOLDER:0.5"
        ) from error
    if not 0 < number < math.inf:
        raise UserError(
            f"--data {text}: a weight is a number above 0; leave out what shall not be read"
        )
    return Choice(Path(path), number)


def open_corpora(config: PretrainConfig, world: World) -> tuple[list[Corpus], list[str]]:
    """Open everything that `config.data` names, and say what is wrong with it.

    Files are only read; rank 0 alone reads all their bytes.
    """
    faults: list[str] = []
    if not config.data:
        return [], ["--data names nothing; give at least one folder of shards"]
    choices = [
        choice
        for text in config.data
        if (choice := attempt(partial(read_choice, text), faults)) is not None
    ]
    if len({choice.weight is None for choice in choices}) == 2:
        faults.append(
            f"--data {' '.join(config.data)}: some have a weight and some have none; give one to "
            "all, or to none and each is read as often as the others"
        )
    names = names_of([choice.folder for choice in choices])
    found = [_open(c, name, config, world, faults) for c, name in zip(choices, names, strict=True)]
    corpora = [corpus for corpus in found if corpus is not None]
    faults += [fault for other in corpora[1:] for fault in _differences(corpora[0], other)]
    return corpora, faults


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart; equal paths are numbered."""
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path[-1]}-{number}" for path, number in zip(parts, count(1), strict=False)]


def rows_each(limit: int, rows: Sequence[int]) -> list[int]:
    """Share out `limit` rows (0: all) over data sets by their sizes, at least one row for each."""
    if not limit:
        return list(rows)
    return [max(1, round(limit * mine / sum(rows))) for mine in rows]


def _open(
    choice: Choice, name: str, config: PretrainConfig, world: World, faults: list[str]
) -> Corpus | None:
    def shards(split: str) -> ShardSet | None:
        length = config.model.context
        opened = attempt(lambda: ShardSet.open(choice.folder, split, row_length=length), faults)
        if opened is not None and config.verify_data and world.is_main:
            attempt(lambda: _verify(opened, world), faults)
        return opened

    train = shards(TRAIN)
    if train is None:
        return None
    held_out = shards(VALIDATION) if train.manifest.splits[VALIDATION].rows else None
    if not train.rows:
        faults.append(f"{choice.folder} has no training rows; leave it out or add text to it")
        return None
    return Corpus(name, choice, train.manifest, train, held_out)


def _verify(shards: ShardSet, world: World) -> None:
    size = sum(entry.bytes for entry in shards.manifest.splits[shards.split].shards)
    if size > 1e9:
        say(
            world,
            f"checking    {size / 1e9:.1f} GB of {shards.split} shards "
            "(not with --verify-data=false)",
        )
    shards.verify()


def _differences(first: Corpus, other: Corpus) -> list[str]:
    """What keeps two corpora from being read by one model."""
    found = []
    here, there = first.manifest, other.manifest
    folders = first.choice.folder, other.choice.folder
    if here.tokenizer.hash != there.tokenizer.hash:
        found.append(
            f"{folders[0]} was made with the tokenizer {_tokenizer(here)} and {folders[1]} with "
            f"{_tokenizer(there)}, but a model has one; prepare one of them again with "
            f"--tokenizer {folders[0] / TOKENIZER_DIR}"
        )
    if here.packing != there.packing:
        found.append(
            f"{folders[0]} is packed by {here.packing} and {folders[1]} by {there.packing}; "
            f"prepare one of them again with --packing {here.packing}"
        )
    return found


def _tokenizer(manifest: Manifest) -> str:
    return f"{manifest.tokenizer.name} ({manifest.tokenizer.hash[:12]})"
