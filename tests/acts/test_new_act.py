"""A new act brings data, a config class and a call of `launch`; the rest is that of all acts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import forked_ranks
import pytest
import torch
from patience import LIMIT
from torch.nn import functional as F

from gpt2zh.acts.launch import launch
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import ModelConfig
from gpt2zh.data.order import rows_at
from gpt2zh.model.build import new_model
from gpt2zh.ranks.port import free_port
from gpt2zh.text.tokenizer import load_tokenizer
from tests.workers import echo_act

ROOT = Path(__file__).parents[2]
STEPS, BATCH, WORDS = 12, 8, 40
pytestmark = pytest.mark.ranks


def options(vocabulary: Path, run: Path, *more: str) -> list[str]:
    return [
        *(f"--tokenizer={vocabulary}", f"--output={run}", f"--words={WORDS}"),
        *("--model.layers=1", "--model.heads=2", "--model.width=32", "--model.context=16"),
        *(f"--train.global_batch={BATCH}", "--train.micro_batch=2", f"--train.steps={STEPS}"),
        *("--optimizer.lr=0.01", "--optimizer.warmup_steps=2", "--validation.sample_tokens=0"),
        *("--log.every=1", *more),
    ]


def start(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Start the act on two ranks, as a user would."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    command = ["deepspeed", "--quiet", "--num_accelerators=2"]
    command += [f"--master_port={free_port()}", echo_act.__file__, *argv]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT
    )


def logged(run: Path, name: str) -> list[float]:
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)[name] for line in lines]


def length(word: int) -> int:
    return 1 + word % 5


def test_a_new_act_trains_with_a_loss_mask_stops_and_resumes(
    tiny_vocabulary: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = start(options(tiny_vocabulary, whole))
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    losses = logged(whole, "loss")
    assert len(losses) == STEPS and losses[-1] < losses[0] - 0.5
    assert losses[0] == pytest.approx(masked_loss(tiny_vocabulary), abs=1e-5)

    walk = rows_at(0, STEPS * BATCH, rows=WORDS, seed=1).tolist()
    assert logged(whole, "tokens")[-1] == sum(2 * length(word) + 1 for word in walk)
    identity = json.loads((whole / f"checkpoint-{STEPS}/identity.json").read_text("utf-8"))
    assert identity["act"] == "echo" and identity["data"] == f"{WORDS} words"

    log = tmp_path / "log.txt"

    def run_forks(*more: str) -> int:
        argv = options(tiny_vocabulary, parts, *more)
        act = partial(launch, echo_act.EchoConfig, echo_act.make_plan)
        return forked_ranks.launch(act, argv, ranks=2, log=log)

    assert run_forks("--stop_after=7steps") == Exit.STOPPED, log.read_text("utf-8")
    assert run_forks() == Exit.DONE, log.read_text("utf-8")
    assert logged(parts, "loss") == losses
    ends = [run / f"checkpoint-{STEPS}" / "model.safetensors" for run in (whole, parts)]
    assert ends[0].read_bytes() == ends[1].read_bytes()

    assert run_forks(f"--words={WORDS + 1}") == Exit.REFUSED
    error = log.read_text("utf-8")
    assert f"data: '{WORDS} words'" in error and f"'{WORDS + 1} words' now" in error


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
