"""The trial before the first step: memory that does not suffice, and a compiler that is missing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked_ranks
import pytest
import torch
import yaml
from plans import plan_of
from pretrain_forks import pretrain
from pretraining import arguments, losses, tensors
from ranks import run_ranks

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.profiles import profile
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.world import World
from gpt2zh.run import start
from gpt2zh.run.start import _estimate_memory, agree_on_plan
from gpt2zh.train.engine import close, compile_model, run_eagerly, start_processes

pytestmark = pytest.mark.ranks

ROOT = Path(__file__).parents[2]
STAGES = (1, 3)
# A micro-batch of 32 rows of 32 tokens has logits over 2,048 ids of 8 MiB, several times over.
LARGE = {"train.global_batch": 64, "train.micro_batch": 32, "train.steps": 2}


def zero(stage: int) -> dict:
    """DeepSpeed's own buckets are of 2 GB."""
    return {"stage": stage, "reduce_bucket_size": 1000}


def micro_batch(run: Path) -> int:
    return int(yaml.safe_load((run / "config.yaml").read_text("utf-8"))["train"]["micro_batch"])


@pytest.fixture(scope="module")
def short_of_memory(
    tmp_path_factory: pytest.TempPathFactory, tiny_vocabulary: Path
) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("short-of-memory")
    prose_shards = root / "shards"
    prepare(
        PrepareConfig(
            input=(str(ROOT / "demo" / "corpus"),),
            output=prose_shards,
            tokenizer=str(tiny_vocabulary),
            row_length=32,
            validation_fraction=0.01,
        )
    )
    told = ""
    with pytest.MonkeyPatch.context() as patch:  # what is freed goes back to the kernel
        patch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
        patch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
        for stage in STAGES:  # each in processes that have freed nothing yet
            argv = arguments(prose_shards, root / f"tight-{stage}", zero(stage), **LARGE)
            cases = [{"argv": argv, "spare": 6 * 2**20, "compile": True}]
            payload = {"cases": cases, "compiler": "/no/such/compiler"}
            told += run_ranks("trial_cases.py", 2, payload)
    again = []
    for stage in STAGES:
        rows = micro_batch(root / f"tight-{stage}")
        more = LARGE | {"train.micro_batch": rows}
        again.append(arguments(prose_shards, root / f"roomy-{stage}", zero(stage), **more))
    pretrain(2, again, root)
    return root, told


@pytest.mark.parametrize("stage", STAGES)
def test_a_micro_batch_that_does_not_fit_one_rank_is_halved_on_all(
    short_of_memory: tuple[Path, str], stage: int
) -> None:
    root, told = short_of_memory
    rows = micro_batch(root / f"tight-{stage}")
    assert 1 <= rows < 32 and 32 % rows == 0
    assert told.count("a micro-batch of 32 rows does not fit (rank 1: ") == len(STAGES)
    assert "the global batch stays" in told


def test_after_halving_nothing_is_compiled_that_could_not_be_before(
    short_of_memory: tuple[Path, str],
) -> None:
    """At stage 1; at stage 3 it is not tried."""
    assert short_of_memory[1].count("the model runs without compilation, which is slower") == 1


@pytest.mark.parametrize("stage", STAGES)
def test_the_run_is_the_one_that_began_with_the_smaller_micro_batch(
    short_of_memory: tuple[Path, str], stage: int
) -> None:
    root, _ = short_of_memory
    tight, roomy = root / f"tight-{stage}", root / f"roomy-{stage}"
    assert losses(tight) == losses(roomy)
    one, other = tensors(tight / "checkpoint-2"), tensors(roomy / "checkpoint-2")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_compiler_the_run_goes_on_and_says_why(tmp_path: Path, tiny_shards: Path) -> None:
    """As on a GPU; asked to compile always, it refuses instead."""
    shorter = {"train.steps": 2, "train.micro_batch": 4}
    cases = [
        {"argv": arguments(tiny_shards, tmp_path / "eager", {"stage": 1}, **shorter)},
        {
            "argv": arguments(
                tiny_shards, tmp_path / "always", {"stage": 1}, **shorter, train__compile="always"
            )
        },
        {
            "argv": arguments(tiny_shards, tmp_path / "auto", {"stage": 1}, **shorter),
            "compile": True,
        },
    ]
    told = run_ranks("trial_cases.py", 1, {"cases": cases, "compiler": "/no/such/compiler"})
    assert "refused: train.compile is always, but the model cannot be compiled here" in told
    assert "the model runs without compilation, which is slower: " in told
    assert losses(tmp_path / "auto") == losses(tmp_path / "eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_a_compiled_run_learns_the_same_and_resumes_exactly(
    tmp_path: Path, tiny_shards: Path
) -> None:
    def case(name: str, **more: object) -> dict:
        options = {"model.layers": 1, "train.steps": 6, "model.dropout": 0.0} | more
        return {"argv": arguments(tiny_shards, tmp_path / name, {"stage": 1}, **options)}

    whole, parts = case("whole", train__compile="always"), case("parts", train__compile="always")
    cases = [case("eager"), whole, {"argv": [*parts["argv"], "--stop-after=3steps"]}]
    told = run_ranks("trial_cases.py", 1, {"cases": cases})
    assert "compiling the model" in told and "without compilation" not in told
    assert told.count("compiled 1 graphs") == 2  # the steps run what the trial has compiled
    run_ranks("trial_cases.py", 1, {"cases": [parts]})
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    pairs = zip(losses(tmp_path / "eager"), losses(tmp_path / "whole"), strict=True)
    assert all(one[1] == pytest.approx(other[1], rel=1e-4) for one, other in pairs)
    one, other = (tensors(tmp_path / name / "checkpoint-6") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    eager = tensors(tmp_path / "eager" / "checkpoint-6")
    assert one.keys() == eager.keys()  # no name tells of the compiler


def test_the_trial_reckons_with_the_engine_as_it_is(tiny_shards: Path, tmp_path: Path) -> None:
    """One that could not be compiled needs other memory than the config lets expect."""
    wanted, unwanted = (
        plan_of(tiny_shards, tmp_path / "run", train__compile=value) for value in ("auto", "never")
    )
    engine = SimpleNamespace(module=torch.nn.Linear(1, 1), device=torch.device("cuda"))
    eager = _estimate_memory(engine, wanted)
    assert eager == _estimate_memory(engine, unwanted)
    compile_model(engine)
    assert eager != _estimate_memory(engine, wanted) == _estimate_memory(engine, unwanted)
    run_eagerly(engine)
    assert eager == _estimate_memory(engine, wanted)


def test_what_the_first_step_computes_is_tried_and_what_needs_most(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing new is compiled, and no memory lacks, in the middle of a step."""
    tried = start._try_micro_batch

    def told(engine: Any, plan: RunPlan, length: int) -> None:
        print("tried", length, flush=True)
        tried(engine, plan, length=length)

    monkeypatch.setattr(start, "_try_micro_batch", told)
    first = {"train__sequence_length_warmup": "16:1steps"}
    case = arguments(tiny_shards, tmp_path / "run", {"stage": 1}, **first, train__steps=2)
    pretrain(1, [case], tmp_path)
    lines = (tmp_path / "0.log").read_text("utf-8").splitlines()
    assert sorted(x for x in lines if x.startswith("tried")) == ["tried 16", "tried 32"]


# What each of two ranks has chosen for itself, and what both take: ZeRO stage and micro-batch.
CHOSEN = {
    "alike": ([1, 4], [1, 4], [1, 4]),
    "fewer rows": ([1, 4], [1, 2], [1, 2]),
    "a later stage": ([1, 2], [2, 4], [2, 4]),
    "a later stage on rank 0": ([3, 1], [1, 4], [3, 1]),
    "rows by a JSON": ([1, 1], [1, 2], [1, 1]),
    "other JSONs": ([1, 4], [2, 4], [1, 4]),
}


def test_ranks_with_different_memory_take_what_fits_the_one_with_the_least(
    tiny_shards: Path, tmp_path: Path
) -> None:
    def act(world: World) -> None:
        start_processes(world)
        control, found = ControlGroup(), {}
        for name, chosen in CHOSEN.items():
            print(f"== {name}", flush=True)
            given = {} if "JSON" in name else {"deepspeed_config": "null"}
            plan = plan_of(tiny_shards, tmp_path / "run", world, **given)
            stage, rows = chosen[world.rank]
            mine = dataclasses.replace(plan, raw=profile(stage)).with_micro_batch(rows)
            both = agree_on_plan(mine, control)
            found[name] = [both.zero_stage, both.micro_batch]
            assert both.raw == profile(both.zero_stage)
            assert both.accumulation == 4 // both.micro_batch
        (tmp_path / f"{world.rank}.json").write_text(json.dumps(found))
        close()

    forked_ranks.run(2, tmp_path, act)
    expected = {name: both for name, (_, _, both) in CHOSEN.items()}
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected
    text = (tmp_path / "0.log").read_text("utf-8")
    told = dict(part.split("\n", 1) for part in text.split("== ")[1:])
    silent = [name for name, lines in told.items() if "warning: " not in lines]
    assert silent == ["alike", "other JSONs"]
    assert "rank 1 has less memory than others, so all" in told["a later stage"]
    assert "ZeRO 2, 4 rows per micro-batch and 1 micro-batches per step" in told["a later stage"]
    assert "warning: " not in (tmp_path / "1.log").read_text("utf-8")
