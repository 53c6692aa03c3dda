"""One run: trained by the project's own command, scored at its checkpoints, and written down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.files.run_folder import read_state
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer
from quality.arms import ARMS, Arm
from quality.curve import seconds_at, timeline
from quality.held_out import HeldOut, score
from quality.job import HELD_OUT, ROOT, Job, run_folder

RESULT = "result.json"
_SCORED_AT_ONCE = 32 * 512  # tokens


class RunError(Exception):
    """A run came to a bad end; the text says how."""


def finished(work: Path, name: str, seed: int) -> dict[str, Any] | None:
    """What an earlier start has found of this run, if it is complete."""
    path = run_folder(work, name, seed) / RESULT
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else None


def run(job: Job, work: Path, name: str, seed: int) -> None:
    """Train and score, and write the result into the run's folder.

    Raises:
        RunError: The training failed.
    """
    folder = run_folder(work, name, seed)
    command = job.command(work, name, seed)
    done = subprocess.run(
        [sys.executable, str(ROOT / "launcher" / "pretrain.py"), *command],
        stdout=sys.stderr,
        env=os.environ | ({} if job.on_gpu else {"DS_ACCELERATOR": "cpu"}),
    )
    if done.returncode:
        raise RunError(f"{name}, seed {seed}: training ended with code {done.returncode}")
    arm = ARMS[name]
    tokenizer = load_tokenizer(job.data(work, arm.data) / TOKENIZER_DIR)
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    train = [r for line in lines if (r := json.loads(line))["kind"] == "train"]
    points, parameters = _points(job, work, folder, arm, tokenizer, timeline(lines))
    found = {
        "arm": name,
        "seed": seed,
        "command": _portable(command, work),
        "steps": job.steps(arm),
        "parameters": parameters,
        "epochs": train[-1]["epoch"],
        "last_losses": [record["loss"] for record in train[-5:]],
        "points": points,
    }
    temporary = folder / (RESULT + ".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    temporary.replace(folder / RESULT)
    for checkpoint in _checkpoints(folder).values():
        shutil.rmtree(checkpoint)


def same_command(found: dict[str, Any], job: Job, work: Path) -> bool:
    """Whether a result is that of the command that would be started now."""
    now = _portable(job.command(work, found["arm"], found["seed"]), work)
    return bool(found["command"] == now)


def _portable(command: list[str], work: Path) -> list[str]:
    """A command without the places of this machine."""
    return [part.replace(str(work), "WORK").replace(f"{ROOT}/", "") for part in command]


def _checkpoints(folder: Path) -> dict[int, Path]:
    found = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*")}
    return dict(sorted(found.items()))


def _points(
    job: Job,
    work: Path,
    folder: Path,
    arm: Arm,
    tokenizer: TextTokenizer,
    line: list[tuple[int, float]],
) -> tuple[list[dict[str, Any]], int]:
    """The scores at all checkpoints, and the parameters of the model."""
    held_out = HeldOut.read(work / HELD_OUT)
    device = torch.device("cuda" if job.on_gpu else "cpu")
    start = tokenizer.eos_id if arm.packing == "full" else tokenizer.cls_id
    assert start is not None, "zero_nlp's packing needs [CLS]"
    found, parameters = [], 0
    for step, path in _checkpoints(folder).items():
        model = _model(path).to(device).eval()
        parameters = sum(p.numel() for p in model.parameters())
        tokens = int(read_state(path)["progress"]["tokens"])
        scores = {
            kind: score(
                model,
                texts,
                tokenizer,
                start=start,
                row_length=job.context,
                rows_at_once=max(1, _SCORED_AT_ONCE // job.context),
                device=device,
            )
            for kind, texts in held_out.kinds.items()
        }
        found.append(
            {"step": step, "tokens": tokens, "seconds": seconds_at(tokens, line), **scores}
        )
    return found, parameters


def _model(checkpoint: Path) -> torch.nn.Module:
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    from gpt2zh.model.loss import SummedLoss

    logging.disable_progress_bar()
    return SummedLoss(GPT2LMHeadModel.from_pretrained(checkpoint))
