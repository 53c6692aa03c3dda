"""Master weights and moments come back to the bit, at any ZeRO stage, each sent to one rank."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from equal_steps import CASES, new_engine
from forked_ranks import run

from gpt2zh.checkpoint import master_weights
from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.model.shape import matrices_in
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import close, start_processes, unwrap_model

pytestmark = pytest.mark.ranks

UPDATES = 5
RUNS = [(case, precision, "adamw") for case in CASES for precision in ("fp32", "bf16")]
RUNS += [(stage, precision, "muon") for stage in "012" for precision in ("fp32", "bf16")]


def drawn(kind: str, name: str, shape: torch.Size) -> torch.Tensor:
    """Numbers that bf16 cannot hold, other ones for each tensor."""
    seed = sum(f"{kind}.{name}".encode())
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def collect(engine: object, world: World) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Tensors that this rank receives, and how many of their elements were given to it."""
    found: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def keep(key: str, shape: torch.Size, start: int, values: torch.Tensor) -> None:
        whole = found.setdefault(key, torch.full(shape, torch.nan))
        whole.view(-1)[start : start + len(values)] = values
        counts[key] = counts.get(key, 0) + len(values)

    layout = master_weights.find_layout(engine, ControlGroup())
    assert (layout is None) == (engine.zero_optimization_stage() not in (1, 2))  # type: ignore[attr-defined]
    master_weights.collect(engine, layout, world, keep)
    return found, counts


def check(case: str, precision: str, kind: str, world: World) -> list[str]:
    """Restore drawn numbers and collect them again; return the keys that this rank received."""
    engine = new_engine(CASES[case], precision, world, OptimizerConfig(kind=kind))  # type: ignore[arg-type]
    shapes = {
        name: getattr(p, "ds_shape", p.shape) for name, p in unwrap_model(engine).named_parameters()
    }
    assert master_weights.count_updates(engine) == 0
    before, _ = collect(engine, world)
    assert not any(value.any() for key, value in before.items() if key.startswith("exp_avg"))
    master_weights.restore(
        engine, lambda part, name: drawn(part, name, shapes[name]), updates=UPDATES
    )
    assert master_weights.count_updates(engine) == UPDATES
    found, counts = collect(engine, world)
    for key, value in found.items():
        part, name = key.split(".", 1)
        assert torch.equal(value, drawn(part, name, shapes[name])), key
        assert counts[key] == value.numel(), key  # no element twice
    weights = {key.removeprefix("weight.") for key in found if key.startswith("weight.")}
    assert weights == (set(shapes) if world.is_main else set())
    second = {key.removeprefix("exp_avg_sq.") for key in found if key.startswith("exp_avg_sq.")}
    assert kind == "adamw" or not [name for name in second if matrices_in(name)]
    engine.destroy()
    return sorted(found)


def test_what_is_restored_is_collected_again_and_sent_nowhere_else(tmp_path: Path) -> None:
    def act(world: World) -> None:
        start_processes(world)
        found = {"-".join(one): check(*one, world) for one in RUNS}
        (tmp_path / f"{world.rank}.json").write_text(json.dumps(found))
        close()

    run(2, tmp_path, act)
    mine, theirs = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for name in mine:
        assert mine[name] and theirs[name] and not set(mine[name]) & set(theirs[name]), name
    names = {key.partition(".")[2] for key in mine["0-fp32-adamw"] if key.startswith("weight.")}
    for name in mine:
        every = {*mine[name], *theirs[name]}
        assert {f"exp_avg.{key}" for key in names} <= every, name
