"""What a comparison is, as it is kept in its folder and handed to its processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gpt2zh.config.schema import ModelConfig
from quality.arms import ARMS, PRESETS, Arm, Budget, Preset, options_of, steps_of

ROOT = Path(__file__).parents[2]
HELD_OUT = "held-out.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Text, shape and budget; all that the runs of a folder have in common."""

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
    """At most so much of them is scored."""
    on_gpu: bool
    ours: tuple[str, ...] = ()
    """Options of ours instead of the preset's, such as optimizer.lr=0.001."""

    @property
    def choice(self) -> Preset:
        """What is known of this shape, and what was asked for."""
        preset = PRESETS[self.preset]
        return replace(preset, tuned={**preset.tuned, **dict(o.split("=", 1) for o in self.ours)})

    @property
    def model(self) -> ModelConfig:
        """The shape."""
        return ModelConfig(
            layers=self.layers, heads=self.heads, width=self.width, context=self.context
        )

    def steps(self, arm: Arm) -> int:
        """Optimizer steps of an arm."""
        return steps_of(arm, self.budget)

    @property
    def budget(self) -> Budget:
        """What every run is given."""
        return Budget(tokens=self.tokens, rows=self.rows, context=self.context)

    def period(self, arm: Arm) -> int:
        """Steps between two scores of an arm, by the clock of the whole budget."""
        whole = self.steps(ARMS["ours"])
        return min(-(-whole // self.points), (self.steps(arm) + 1) // 2)

    def data(self, work: Path, name: str) -> Path:
        """The shards of this name."""
        return work / "data" / name

    def command(self, work: Path, name: str, seed: int) -> list[str]:
        """Arguments of launcher/pretrain.py for a run."""
        arm = ARMS[name]
        steps = self.steps(arm)
        period = self.period(arm)
        options = options_of(arm, self.choice, self.budget)
        config = ROOT / "configs" / options.pop("config")
        options |= {
            "data": str(self.data(work, arm.data)),
            "output": str(run_folder(work, name, seed)),
            "seed": str(seed),
            "deepspeed_config": str(ROOT / "ds_configs" / "zero1.json"),
            "model.layers": str(self.layers),
            "model.heads": str(self.heads),
            "model.width": str(self.width),
            "model.context": str(self.context),
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

    def write(self, path: Path) -> None:
        """Write it for the processes, and for a later start."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` wrote."""
        table = json.loads(path.read_text("utf-8"))
        return cls(**table | {name: tuple(table[name]) for name in ("input", "ours")})


def run_folder(work: Path, name: str, seed: int) -> Path:
    """The folder of a run."""
    return work / "runs" / f"{name}-{seed}"
