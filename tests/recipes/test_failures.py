"""What a run says when memory runs out or it crashes, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import WORKERS

from gpt2zh.config.exit_codes import Exit
from gpt2zh.recipes.failures import is_out_of_memory

ROOT = Path(__file__).parents[2]


@pytest.mark.ranks
def test_out_of_memory_says_which_knob_to_turn_and_what_was_estimated(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(WORKERS / "out_of_memory.py"), str(tiny_shards), str(run)],
        env=os.environ | {"PYTHONPATH": f"{WORKERS.parent / 'support'}:{ROOT / 'benchmarks'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    text = run.with_suffix(".log").read_text("utf-8")
    assert json.loads(done.stdout) == [Exit.LOST_RANK, Exit.OUT_OF_MEMORY], text[-3000:]
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
