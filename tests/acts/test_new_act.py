"""A new act brings data, a config class and a call of `launch`; the rest is that of all acts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import ModelConfig
from gpt2zh.data.order import rows_at
from gpt2zh.model.build import new_model
from gpt2zh.text.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
ACT = ROOT / "tests" / "workers" / "echo_act.py"
STEPS, BATCH, WORDS = 12, 8, 40
pytestmark = pytest.mark.ranks

Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tiny_vocabulary: Path) -> Start:
    """Starts the act on two ranks, as a user would."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
    }

    def started(run: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            *("deepspeed", "--quiet", "--num_accelerators=2"),
            *(f"--master_port={20000 + os.getpid() % 20000}", str(ACT)),
            *(f"--tokenizer={tiny_vocabulary}", f"--output={run}", f"--words={WORDS}"),
            *("--model.layers=1", "--model.heads=2", "--model.width=32", "--model.context=16"),
            *(f"--train.global_batch={BATCH}", "--train.micro_batch=2", f"--train.steps={STEPS}"),
            *("--optimizer.lr=0.01", "--optimizer.warmup_steps=2", "--validation.sample_tokens=0"),
            *("--log.every=1", *more),
        ]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )

    return started


def logged(run: Path, name: str) -> list[float]:
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)[name] for line in lines]


def length(word: int) -> int:
    return 1 + word % 5


def test_a_new_act_trains_with_a_loss_mask_stops_and_resumes(
    start: Start, tiny_vocabulary: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = start(whole)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    losses = logged(whole, "loss")
    assert len(losses) == STEPS and losses[-1] < losses[0] - 0.5
    assert losses[0] == pytest.approx(masked_loss(tiny_vocabulary), abs=1e-5)

    walk = rows_at(0, STEPS * BATCH, rows=WORDS, seed=1).tolist()
    assert logged(whole, "tokens")[-1] == sum(2 * length(word) + 1 for word in walk)
    identity = json.loads((whole / f"checkpoint-{STEPS}/identity.json").read_text("utf-8"))
    assert identity["act"] == "echo" and identity["data"] == f"{WORDS} words"

    stopped = start(parts, "--stop_after=7steps")
    assert stopped.returncode == Exit.STOPPED, stopped.stdout + stopped.stderr
    assert start(parts).returncode == Exit.DONE
    assert logged(parts, "loss") == losses
    ends = [run / f"checkpoint-{STEPS}" / "model.safetensors" for run in (whole, parts)]
    assert ends[0].read_bytes() == ends[1].read_bytes()

    other = start(parts, f"--words={WORDS + 1}")
    assert other.returncode == Exit.REFUSED
    assert f"data: '{WORDS} words'" in other.stderr and f"'{WORDS + 1} words' now" in other.stderr


def masked_loss(vocabulary: Path) -> float:
    """The loss of fresh weights on the repetitions of the first step, by transformers alone."""
    tokenizer = load_tokenizer(vocabulary)
    model = new_model(ModelConfig(layers=1, heads=2, width=32, context=16), tokenizer, seed=1)
    nats, targets = 0.0, 0
    for number in rows_at(0, BATCH, rows=WORDS, seed=1).tolist():
        word = [20 + (number + place) % 100 for place in range(length(number))]
        ids = torch.tensor([[*word, tokenizer.eos_id, *word]])
        with torch.no_grad():
            logits = model.eval()(ids).logits[0, len(word) : -1]
        goal = ids[0, len(word) + 1 :]
        nats += F.cross_entropy(logits, goal, reduction="sum").item()
        targets += len(goal)
    return nats / targets
