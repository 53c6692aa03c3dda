"""What a run says when memory runs out or it crashes, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import arguments, go
from torture.faults import Fault

from gpt2zh.config.exit_codes import Exit
from gpt2zh.recipes.failures import is_out_of_memory


@pytest.mark.ranks
def test_out_of_memory_says_which_knob_to_turn_and_what_was_estimated(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    phase = "computing micro-batch"
    fault = Fault("no memory", rank=1, in_writer=False, at=1, phase=phase)
    more = ("--model.width=256", "--model.layers=4", "--train.micro_batch=4")
    ended = go(arguments(tiny_shards, run, {"stage": 1}, *more, steps=3), run, fault)
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes == [Exit.LOST_RANK, Exit.OUT_OF_MEMORY], text[-3000:]
    assert "error: rank 1 ran out of memory while computing micro-batch 1" in text
    assert "--train.micro_batch 2" in text and "--train.activation_checkpointing true" in text
    assert "it was estimated before: about " in text
    assert "rank 1 crashed" in text  # what rank 0 says of it
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, answer: bool) -> None:
    assert is_out_of_memory(error) is answer
