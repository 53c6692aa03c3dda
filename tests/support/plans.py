"""Plans of tiny runs, made or refused, and folders as such runs leave them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config import deepspeed
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, ModelConfig, PretrainConfig, TrainConfig
from gpt2zh.files import run_folder
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.plan.setup import Setup
from gpt2zh.ranks.world import World

ROOT = Path(__file__).parents[2]
MODEL = ModelConfig(layers=4, heads=4, width=256, context=128)


def arguments(data: Path, output: Path, **more: object) -> list[str]:
    """The command line of a tiny run; `model__width=4` becomes `--model.width=4`."""
    options = {
        "data": data,
        "output": output,
        "deepspeed_config": ROOT / "ds_configs" / "zero1.json",
        "model__layers": 2,
        "model__heads": 2,
        "model__width": 30,
        "model__context": 32,
        "train__global_batch": 8,
        "train__micro_batch": 2,
        **more,
    }
    return [f"--{name.replace('__', '.')}={value}" for name, value in options.items()]


def plan_of(data: Path, output: Path, world: World = World(), **more: object) -> RunPlan:  # noqa: B008
    argv = arguments(data, output, **more)
    return make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), world)


def setup_of(ranks: int, raw: dict[str, Any], **train: Any) -> Setup:
    """A setup of `MODEL` with 5,000 tokens, without data; in bf16 unless `train` says otherwise."""
    settings = {"global_batch": 64, "micro_batch": 4, "precision": "bf16", **train}
    config = PretrainConfig(
        data=("shards",), output=Path("run"), model=MODEL, train=TrainConfig(**settings)
    )
    resolved = deepspeed.resolve(raw, config.train, config.optimizer, ranks)
    return Setup(config, 5000, ranks, raw, resolved)


def refused(data: Path, output: Path, world: World = World(), **more: object) -> str:  # noqa: B008
    """The message for a run that cannot start; nothing may be written meanwhile."""
    around = output if output.exists() else output.parent
    before = snapshot(around)
    with pytest.raises(UserError) as caught:
        plan_of(data, output, world, **more)
    assert snapshot(around) == before
    return str(caught.value)


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its bytes; none for the kernel's files, which change."""
    if root.is_relative_to("/proc") or not root.is_dir():
        return {}
    return {str(p): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


def save_checkpoint(plan: RunPlan, step: int) -> Path:
    """A complete checkpoint folder of this run, as far as a plan reads it."""
    target = plan.config.output
    temporary = run_folder.begin(target, step)
    batch = plan.config.train.global_batch
    progress = {"step": step, "rows": batch * step}
    state = {"progress": progress, "updates": step, "loss_scale": {}}
    (temporary / run_folder.STATE).write_text(json.dumps(state), "utf-8")
    for name, text in plan.texts().items():
        (temporary / name).write_text(text, "utf-8")
    (temporary / "config.json").write_text(json.dumps({"vocab_size": plan.vocabulary}), "utf-8")
    (temporary / "model.safetensors").write_bytes(b"weights" * 9)
    entries = run_folder.make_entries(temporary.iterdir())
    run_folder.commit(temporary, run_folder.checkpoint_path(target, step), entries)
    for name, text in plan.texts().items():
        (target / name).write_text(text, "utf-8")
    return run_folder.checkpoint_path(target, step)


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def first(shards: Path, split: str = "train") -> Path:
    table = json.loads((shards / "manifest.json").read_text("utf-8"))
    return shards / table["splits"][split]["shards"][0]["file"]


@pytest.fixture
def shards(tiny_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards, which a test may damage."""
    return Path(shutil.copytree(tiny_shards, tmp_path / "shards"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small"
