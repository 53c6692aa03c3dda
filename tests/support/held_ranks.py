"""What real steps hold, taken by forks of this process as ranks: a start takes a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from forked_ranks import run

from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer
from gpt2zh.train import engine as engines
from tests.support.held.cases import Case
from tests.support.held.meters import Level
from tests.support.held.steps import Found, take


def found(cases: Sequence[Case], ranks: int, vocabulary: Path, folder: Path) -> list[Found]:
    """What rank 0 of so many holds in the last step of each case."""
    run(ranks, folder, lambda world: _take_all(cases, world, vocabulary, folder))
    taken = json.loads((folder / "found.json").read_text("utf-8"))
    return [
        Found(vocabulary, at_rest, {name: Level(**level) for name, level in levels.items()})
        for vocabulary, at_rest, levels in taken
    ]


def _take_all(cases: Sequence[Case], world: World, vocabulary: Path, folder: Path) -> None:
    device = engines.start_processes(world)
    tokenizer = load_tokenizer(vocabulary)
    taken = [take(case, tokenizer, world, device) for case in cases]
    if world.is_main:
        plain = [
            (found.vocabulary, found.at_rest, {n: asdict(v) for n, v in found.levels.items()})
            for found in taken
        ]
        (folder / "found.json").write_text(json.dumps(plain), "utf-8")
    engines.close()
