"""What a comparison is, as its folder keeps it and its processes read it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import ROOT
from benchmarks.time_to_loss.recipes import ARMS, PRESETS, Arm, Preset, options_of

_SHAPE = ("layers", "heads", "width", "context")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Text, shape and budget: what all runs of a folder have in common."""

    input: tuple[str, ...]
    tokenizer: str
    """Of all arms but those with the builtin one: the seed's."""
    preset: str
    layers: int
    heads: int
    width: int
    context: int
    rows: int
    """Of a step."""
    tokens: int
    """The budget of a run."""
    points: int
    """Scores of a run, evenly spread."""
    held_out: float
    """Share of the documents."""
    held_out_characters: int
    """The most characters of them that are scored."""
    on_gpu: bool
    ours: tuple[str, ...] = ()
    """Options of ours instead of the preset's, such as optimizer.lr=0.001."""

    @classmethod
    def of(cls, options: argparse.Namespace, *, on_gpu: bool) -> Job:
        """Return the job of these options; what they leave out is the preset's."""
        preset = PRESETS[options.preset]
        defaults = {name: getattr(preset.model, name) for name in _SHAPE}
        defaults |= {"rows": preset.rows, "tokens": preset.tokens, "on_gpu": on_gpu}
        given = {f.name: getattr(options, f.name, None) for f in fields(cls)}
        table = defaults | {name: value for name, value in given.items() if value is not None}
        return cls._from(table)

    @property
    def choice(self) -> Preset:
        """The preset, with the options of ours that the user has changed."""
        preset = PRESETS[self.preset]
        return replace(preset, tuned={**preset.tuned, **dict(o.split("=", 1) for o in self.ours)})

    def steps(self, arm: Arm) -> int:
        """Return the optimizer steps of an arm: its part of the budget."""
        return max(1, round(self.tokens / arm.parts / self.context / self.rows))

    def period(self, arm: Arm) -> int:
        """Return the steps between two scores of an arm, by the clock of the whole budget."""
        whole = self.steps(ARMS["ours"])
        return min(-(-whole // self.points), (self.steps(arm) + 1) // 2)

    def data(self, work: Path, name: str) -> Path:
        """Return the folder of the shards of this name."""
        return work / "data" / name

    def command(self, work: Path, name: str, seed: int) -> list[str]:
        """Return the arguments of launcher/pretrain.py for a run."""
        arm = ARMS[name]
        steps, period = self.steps(arm), self.period(arm)
        options = options_of(arm, self.choice, steps)
        config = ROOT / "configs" / options.pop("config")
        options |= {
            "data": str(self.data(work, arm.data)),
            "output": str(run_folder(work, name, seed)),
            "seed": str(seed),
            "deepspeed_config": str(ROOT / "ds_configs" / "zero1.json"),
            **{f"model.{part}": str(getattr(self, part)) for part in _SHAPE},
            "train.steps": str(steps),
            "train.global_batch": str(self.rows),
            "train.micro_batch": self.choice.micro_batch or str(self.rows),
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

    def keep(self, path: Path) -> None:
        """Write it to `path`, unless it is there already.

        Raises:
            SystemExit: There is another one.
        """
        if path.exists() and (other := Job.read(path)) != self:
            there, now = asdict(other), asdict(self)
            differ = ", ".join(f"{k} {there[k]} -> {now[k]}" for k in now if there[k] != now[k])
            raise SystemExit(
                f"error: {path.parent} holds runs of another job ({differ}); give another --work"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what `keep` has written."""
        return cls._from(json.loads(path.read_text("utf-8")))

    @classmethod
    def _from(cls, table: dict[str, Any]) -> Job:
        lists = {name: tuple(table[name]) for name in ("input", "ours")}
        return cls(**table | lists)


def run_folder(work: Path, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    return work / "runs" / f"{name}-{seed}"
