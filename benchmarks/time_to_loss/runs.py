"""Make one run: train with the project's own command, score the checkpoints, write the result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from benchmarks.harness.machine import ROOT
from benchmarks.time_to_loss.curve import seconds_at, timeline
from benchmarks.time_to_loss.held_out import HeldOut, score
from benchmarks.time_to_loss.job import Job, run_folder
from benchmarks.time_to_loss.recipes import ARMS
from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.files.run_folder import read_state
from gpt2zh.model.loss import SummedLoss
from gpt2zh.text.tokenizer import load_tokenizer

HELD_OUT, RESULT = "held-out.json", "result.json"
_SCORED_AT_ONCE = 32 * 512  # tokens


def finished(work: Path, name: str, seed: int) -> dict[str, Any] | None:
    """Return the result of an earlier start of this run, if it is complete."""
    path = run_folder(work, name, seed) / RESULT
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else None


def run(job: Job, work: Path, name: str, seed: int) -> dict[str, Any]:
    """Train and score; write the result into the folder of the run.

    Raises:
        SystemExit: The training failed.
    """
    folder = run_folder(work, name, seed)
    command = job.command(work, name, seed)
    done = subprocess.run(
        [sys.executable, str(ROOT / "launcher" / "pretrain.py"), *command],
        env=os.environ | ({} if job.on_gpu else {"DS_ACCELERATOR": "cpu"}),
    )
    if done.returncode:
        raise SystemExit(f"error: {name}, seed {seed}: training ended with {done.returncode}")
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    train = [r for line in lines if (r := json.loads(line))["kind"] == "train"]
    checkpoints = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*")}
    found = {
        "arm": name,
        "seed": seed,
        "command": _portable(command, work),
        "steps": job.steps(ARMS[name]),
        "epochs": train[-1]["epoch"],
        "last_losses": [record["loss"] for record in train[-5:]],
        **_scored(job, work, name, checkpoints, timeline(lines)),
    }
    temporary = folder / (RESULT + ".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    temporary.replace(folder / RESULT)
    for checkpoint in checkpoints.values():
        shutil.rmtree(checkpoint)
    return found


def same_command(found: dict[str, Any], job: Job, work: Path) -> bool:
    """Return whether a result is that of the command that would be started now."""
    now = _portable(job.command(work, found["arm"], found["seed"]), work)
    return bool(found["command"] == now)


def _portable(command: list[str], work: Path) -> list[str]:
    """Return a command without the paths of this machine."""
    return [part.replace(str(work), "WORK").replace(f"{ROOT}/", "") for part in command]


def _scored(
    job: Job,
    work: Path,
    name: str,
    checkpoints: dict[int, Path],
    line: list[tuple[int, float]],
) -> dict[str, Any]:
    """Return the scores at all checkpoints, and the number of parameters of the model."""
    arm, held_out = ARMS[name], HeldOut.read(work / HELD_OUT)
    tokenizer = load_tokenizer(job.data(work, arm.data) / TOKENIZER_DIR)
    device = torch.device("cuda" if job.on_gpu else "cpu")
    start = tokenizer.eos_id if arm.packing == "full" else tokenizer.cls_id
    assert start is not None, "zero_nlp's packing needs [CLS]"
    points, parameters = [], 0
    for step, path in sorted(checkpoints.items()):
        model = SummedLoss(GPT2LMHeadModel.from_pretrained(path)).to(device).eval()
        parameters = sum(p.numel() for p in model.parameters())
        tokens = int(read_state(path)["progress"]["tokens"])
        scores = {
            kind: score(
                partial(_summed_loss, model, device),
                texts,
                tokenizer,
                start=start,
                row_length=job.context,
                rows_at_once=max(1, _SCORED_AT_ONCE // job.context),
            )
            for kind, texts in held_out.kinds.items()
        }
        point = {"step": step, "tokens": tokens, "seconds": seconds_at(tokens, line)}
        points.append(point | scores)
    return {"parameters": parameters, "points": points}


def _summed_loss(
    model: SummedLoss, device: torch.device, ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    loss: torch.Tensor = model(ids.to(device), labels.to(device))
    return loss
