"""The doctor's answer as a table, samples without files, and a corpus without any fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.doctor.examine import Examination, FileGroup, examine
from data_tools.doctor.findings import Facts
from data_tools.doctor.forecast import Forecast, Shares, compute_shares, make_forecast
from data_tools.doctor.options import DoctorConfig
from data_tools.doctor.run import run
from data_tools.doctor.sample import FileSample
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.source import Encoding, SourceFile
from gpt2zh.plan.machine import Machine
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

LAPTOP = Machine(0, None, 1)
Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Return a function that runs the doctor and gives what it found."""

    def examine(*inputs: Path, **options: Any) -> dict[str, Any]:
        path = tmp_path / "found.json"
        run(DoctorConfig(input=tuple(map(str, inputs)), json=path, **options))
        return json.loads(path.read_text("utf-8"))

    return examine


@pytest.fixture
def tokenizer(bert_tokenizer: Path) -> TextTokenizer:
    """Return a small WordPiece, which loses line breaks, spaces and capitals."""
    return load_tokenizer(str(bert_tokenizer))


def make_sample(
    name: str,
    texts: Sequence[str],
    *,
    encoding: Encoding = "utf-8",
    aside: Sequence[SetAside] = (),
    share: float = 1.0,
) -> FileSample:
    """Return a sample of a file with these documents, a line each, as if it had been read.

    Args:
        name: Path of the file below /in.
        texts: Of the documents.
        encoding: Of the file.
        aside: Records set aside.
        share: Share of the file that the documents are.
    """
    data, begins, ends = join_spans([text.encode() for text in texts])
    block = Block(data, begins, ends, np.arange(len(texts)) + 2, ends - begins, tuple(aside))
    size = round(len(data) / share)
    source = SourceFile(Path("/in") / name, "csv", "", encoding, size, mtime_ns=0)
    return FileSample(source, [block], len(data))


def gather_facts(samples: Sequence[FileSample], tokenizer: TextTokenizer) -> Facts:
    """Return all facts about samples, with rows of 8 tokens."""
    found = examine(samples, tokenizer)
    forecast = make_forecast(
        found, row_length=8, vocab_size=tokenizer.vocab_size, seconds=1.0, machine=LAPTOP
    )
    return Facts(
        samples=samples,
        found=found,
        shares=compute_shares(found, 8),
        forecast=forecast,
        tokenizer=tokenizer.name,
        vocab_size=tokenizer.vocab_size,
        is_wordpiece=True,
        row_length=8,
    )


def make_group(name: str = "a.csv", documents: int = 100, **more: Any) -> FileGroup:
    """Return a group with documents of 50 characters and 50 tokens, read whole."""
    lengths = [np.full(documents, 50)]
    group = FileGroup(name, files=1, bytes=1000, read=1000, characters=lengths, tokens=lengths)
    return replace(group, **more)


def make_examination(*groups: FileGroup, **more: Any) -> Examination:
    """Return what was found in groups without a fault."""
    nothing = Examination(Path("/in"), list(groups), {}, Counter(), None, None, seconds=1.0)
    return replace(nothing, **more)


def quiet_facts(
    found: Examination | None = None, *, steps: int = 1000, vocab_size: int = 9, **shares: float
) -> Facts:
    """Return facts that give no finding.

    Args:
        found: Counts; by default one group of 100 documents.
        steps: Of an epoch.
        vocab_size: Of the tokenizer.
        shares: Other values for `Shares`.
    """
    none = Shares(
        lost=0, added=0, spelled=0, tokens_per_character=1, partial=0, exact=1, copies=0,
        damaged=0, short=0, row_filling=0,
    )  # fmt: skip
    forecast = Forecast(
        documents=100, characters=5000, tokens=5100, rows=640, disk_bytes=10_000, seconds=1.0,
        cores=1, config="gpt2-tiny", global_batch=32, steps=steps,
    )  # fmt: skip
    return Facts(
        samples=[],
        found=found or make_examination(make_group()),
        shares=replace(none, **shares),
        forecast=forecast,
        tokenizer="tiny",
        vocab_size=vocab_size,
        is_wordpiece=False,
        row_length=8,
    )
