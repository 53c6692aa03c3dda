"""A preparation of a small corpus, stage by stage, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.config import PrepareConfig
from data_tools.prepare.assemble import assemble, put_in_place, seal
from data_tools.prepare.decide import decide
from data_tools.prepare.draft import begin_drafts, make_draft
from data_tools.prepare.formats import read_decisions, read_draft
from data_tools.prepare.pack import begin_packing, pack_unit
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan
from data_tools.prepare.resume import choose_plan
from data_tools.sources.find import find_files, inspect_all
from data_tools.sources.source import SourceFile
from gpt2zh.data.manifest import Manifest
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

from ..conftest import write_rows


@dataclass(frozen=True)
class Work:
    """A preparation that has a plan; each method does one stage of it."""

    config: PrepareConfig
    tokenizer: TextTokenizer
    sources: Sequence[SourceFile]
    folder: PartialFolder
    plan: PreparePlan
    base: Manifest | None

    def draft(self) -> Work:
        tools = begin_drafts(self.folder.output)
        for unit in self.plan.units:
            make_draft(tools, unit.number, lambda size: None)
        return self

    def decide(self) -> Work:
        decide(self.plan, self.folder, self.base)
        return self

    def pack(self) -> Work:
        tools = begin_packing(self.folder.output)
        for unit in self.plan.units:
            pack_unit(tools, unit.number, lambda size: None)
        return self

    def finish(self) -> Manifest:
        """Do all stages, and give the shards their name."""
        return self.draft().decide().pack().seal()

    def seal(self) -> Manifest:
        """Make a folder of shards of the packed units."""
        manifest = assemble(self.plan, self.folder, self.base)
        seal(manifest, self.plan, self.folder, self.base)
        put_in_place(self.folder)
        return manifest

    def decisions(self) -> list[list[int]]:
        """Return the decisions about the documents of each unit."""
        return [
            read_decisions(self.folder, unit.number, self.documents(unit.number)).tolist()
            for unit in self.plan.units
        ]

    def documents(self, unit: int) -> int:
        return read_draft(self.folder, unit)["documents"]


Begin = Callable[..., Work]


@pytest.fixture
def begin(tmp_path: Path, bert_tokenizer: Path) -> Begin:
    """Return a function that plans to prepare texts, each list of them a file.

    With `unit_bytes=1` each header and each document is a unit.
    """

    def begin(
        *files: Sequence[str],
        base: Manifest | None = None,
        damage: tuple[bytes, bytes] = (b"", b""),
        **options: Any,
    ) -> Work:
        first = len(base.sources) if base else 0
        for number, texts in enumerate(files, first):
            path = write_rows(tmp_path / f"in/{number}.csv", texts)
            path.write_bytes(path.read_bytes().replace(*damage, int(bool(damage[0]))))
        paths = find_files([str(tmp_path / "in")])[first:]
        config = PrepareConfig(
            **{
                "input": tuple(map(str, paths)),
                "output": tmp_path / "out",
                "tokenizer": str(bert_tokenizer),
                "row_length": 8,
                "validation_fraction": 0.0,
                "append": base is not None,
            }
            | options
        )
        folder = PartialFolder(config.output)
        folder.create()
        sources = inspect_all(paths, config)
        tokenizer = load_tokenizer(config.tokenizer)
        plan = choose_plan(config, folder, tokenizer, sources, base)
        return Work(config, tokenizer, sources, folder, plan, base)

    return begin


def long_text(seed: int) -> str:
    """Return 300 characters of those that the small tokenizer knows."""
    signs = list("从前有座山里庙第一行二引号和单短个空格他说然后走了")
    return "".join(np.random.default_rng(seed).choice(signs, 300))
