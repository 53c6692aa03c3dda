"""One run: train with the project's own command, score the checkpoints, keep the result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.cli import say
from benchmarks.harness.machine import ROOT
from benchmarks.time_to_loss.curve import seconds_at, timeline
from benchmarks.time_to_loss.held_out import bits_per_character
from benchmarks.time_to_loss.recipes import ARMS, Preset, options_of
from gpt2zh.files.durable import write_whole
from gpt2zh.files.run_folder import list_checkpoints, read_state
from gpt2zh.model.load import load_pretrained


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm with one seed."""

    preset: Preset
    work: Path
    """Absolute; holds the shards, in data/TOKENIZER-PACKING, and the runs."""
    name: str
    """Of the arm."""
    seed: int
    on_gpu: bool

    @property
    def folder(self) -> Path:
        """Where the run and its result are."""
        return self.work / "runs" / f"{self.name}-{self.seed}"

    @property
    def command(self) -> list[str]:
        """The arguments of launcher/pretrain.py."""
        arm, preset = ARMS[self.name], self.preset
        period = preset.period(arm.parts)
        options = options_of(arm, preset)
        config = ROOT / "configs" / options.pop("config")
        options |= {
            "data": str(self.work / "data" / f"{arm.tokenizer}-{arm.packing}"),
            "output": str(self.folder),
            "seed": str(self.seed),
            "deepspeed_config": str(ROOT / "ds_configs" / "zero1.json"),
            **{f"model.{name}": str(value) for name, value in preset.model.items()},
            "train.steps": str(preset.steps(arm.parts)),
            "train.global_batch": str(preset.rows),
            "train.micro_batch": preset.micro_batch,
            "train.precision": "bf16" if self.on_gpu else "fp32",
            "checkpoint.every": f"{period}steps",
            "checkpoint.keep_every": str(period),
            "validation.every": "never",
            "validation.rows": "1",
            "validation.sample_tokens": "0",
            "log.every": str(max(1, period // 5)),
            "verify_data": "false",
        }
        return [f"--config={config}", *(f"--{key}={value}" for key, value in options.items())]

    @property
    def portable_command(self) -> list[str]:
        """The command without the paths of this machine."""
        work, root = str(self.work), f"{ROOT}/"
        return [part.replace(work, "WORK").replace(root, "") for part in self.command]

    def earlier(self) -> dict[str, Any] | None:
        """Return the result of an earlier start, if it is complete.

        Raises:
            SystemExit: That start had other options.
        """
        if not (path := self.folder / "result.json").exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found["command"] != self.portable_command:
            raise SystemExit(
                f"error: {self.name}, seed {self.seed}, was run with other options in {self.work}; "
                "give another --work"
            )
        return found

    def make(self, texts: Sequence[str]) -> dict[str, Any]:
        """Train, or continue an interrupted run; score and delete all checkpoints.

        Args:
            texts: The held-out text.

        Raises:
            SystemExit: The training failed.
        """
        say(f"{self.name}, seed {self.seed}")
        done = subprocess.run(
            [sys.executable, str(ROOT / "launcher" / "pretrain.py"), *self.command],
            env=os.environ | ({} if self.on_gpu else {"DS_ACCELERATOR": "cpu"}),
            stdout=sys.stderr,
        )
        if done.returncode:
            raise SystemExit(f"error: {self.name}, seed {self.seed}, failed; the reason is above")
        checkpoints = list_checkpoints(self.folder)
        found = {
            "arm": self.name,
            "seed": self.seed,
            "command": self.portable_command,
            "points": [self._point(step, path, texts) for step, path in checkpoints],
        }
        write_whole(self.folder / "result.json", json.dumps(found, indent=1) + "\n")
        for _, path in checkpoints:
            shutil.rmtree(path)
        torch.cuda.empty_cache()  # the next run needs the memory
        return found

    def _point(self, step: int, checkpoint: Path, texts: Sequence[str]) -> dict[str, Any]:
        line = timeline((self.folder / "metrics.jsonl").read_text("utf-8").splitlines())
        tokens = int(read_state(checkpoint)["progress"]["tokens"])
        device = torch.device("cuda" if self.on_gpu else "cpu")
        model, tokenizer = load_pretrained(checkpoint, dtype=torch.float32, device=device)
        start = tokenizer.eos_id if ARMS[self.name].packing == "full" else tokenizer.cls_id
        assert start is not None, "zero_nlp's packing needs [CLS]"
        return {
            "step": step,
            "tokens": tokens,
            "seconds": seconds_at(tokens, line),
            "bits_per_character": bits_per_character(model, tokenizer, texts, start=start),
        }
