"""The comparison of speeds runs, its arms learn the same, and a row that does not is void."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from patience import LIMIT
from transformers import GPT2LMHeadModel

from benchmarks.harness import corpus
from benchmarks.throughput import clock, judge, recipes, report, trainer
from benchmarks.throughput import job as jobs
from benchmarks.throughput.job import Job
from gpt2zh.config.schema import ModelConfig
from gpt2zh.data.shard import ShardSet

ROOT = Path(__file__).parents[2]
JOB = Job(
    work=Path(),
    shards=Path(),
    model=ModelConfig(layers=12, heads=12, width=768, context=512),
    global_batch=160,
    micro_batch=20,
    warmup=20,
    steps=30,
    on_gpu=True,
    compile=True,
)


def throughput(*options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.throughput", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


@pytest.mark.ranks
def test_all_arms_learn_the_same_and_one_that_leaves_out_rows_is_void(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    names = ["hf-seed", "hf-best", "bare", "gpt2zh-1", "half"]
    printed = throughput(
        *("--small", "--warmup=2", "--steps=3", "--rounds=1"),
        *(f"--json={out}", f"--work={tmp_path}", "--arms", *names),
    )
    found = json.loads(out.read_text("utf-8"))
    assert list(found["arms"]) == names
    losses = {name: judge.losses_of(row["rounds"][0]) for name, row in found["arms"].items()}
    held_out = {name: row["held_out"] for name, row in found["arms"].items()}
    for name in ("hf-best", "gpt2zh-1"):
        assert losses[name] == pytest.approx(losses["bare"], rel=1e-5)
        assert held_out[name] == pytest.approx(held_out["bare"], rel=1e-5)
    assert losses["hf-seed"] == pytest.approx(losses["bare"], rel=0.01)  # it has dropout
    assert losses["hf-seed"] != pytest.approx(losses["bare"], rel=1e-5)
    assert list(losses["bare"]) == [1, 2, 3, 4, 5, 6]
    assert losses["bare"][1] == pytest.approx(math.log(2304), rel=0.01)
    assert [name for name, row in found["arms"].items() if row["void"]] == ["half"]
    assert "allowed are" in found["arms"]["half"]["void"]
    for row in found["arms"].values():
        assert row["steps"] == 3 and 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert 0.1 < row["peak_gib"] < 8 and row["mfu"] is None
        rate = 1000 * found["facts"]["tokens_per_step"] / row["median_ms"]
        assert row["tokens_per_second"] == pytest.approx(rate)
    assert 16 * 63 < found["facts"]["tokens_per_step"] <= 16 * 64
    assert found["machine"]["versions"].keys() >= {
        "torch",
        "transformers",
        "accelerate",
        "deepspeed",
    }
    assert printed == throughput(f"--table={out}")
    (void,) = [line for line in printed.splitlines() if line.startswith("| half ")]
    assert "**void**" in void and f"{found['arms']['half']['tokens_per_second']:,.0f}" not in void
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.ranks
def test_the_arm_overhead_measures_all_ways_of_taking_a_step(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ("--arms", "overhead", "--layers=2", "--warmup=1", "--steps=3")
    printed = throughput(*options, f"--json={out}")
    found = json.loads(out.read_text("utf-8"))["overhead"]
    assert (found["tensors"], found["rounds"]) == (28, 3)
    cases = [(c["precision"], c["stage"], c["micro_batches"]) for c in found["cases"]]
    assert cases == list(itertools.product(("fp32", "bf16"), (0, 1, 2), (1, 4)))
    for case in found["cases"]:
        assert min(case[f"{way}_ms"] for way in ("torch", "deepspeed", "gpt2zh")) > 0
        assert case["torch_more_ms"] == 0
        more = case["gpt2zh_more_ms"]
        start = " | ".join(str(case[name]) for name in ("precision", "stage", "micro_batches"))
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| {start} |")]
        assert f"| {more:+.2f} | {more - case['deepspeed_more_ms']:+.2f} |" in row
    assert throughput(f"--table={out}") == printed


def test_rows_of_the_demo_differ_however_many_are_wanted(tmp_path: Path) -> None:
    corpus.demo_shards(tmp_path / "shards", rows=2000, row_length=64, vocabulary=0)
    rows = ShardSet.open(tmp_path / "shards")
    assert rows.rows >= 2000  # more than twice the demo's corpus
    different = np.unique(rows.gather(np.arange(rows.rows)), axis=0)
    assert len(different) > 0.98 * rows.rows


def test_what_the_trainer_gives_back_computes_in_fp32(tmp_path: Path, tiny_shards: Path) -> None:
    shape = ModelConfig(layers=1, heads=1, width=16, context=32)
    batch = {"global_batch": 4, "micro_batch": 2, "warmup": 0, "steps": 1}
    folders = {"shards": tiny_shards, "work": tmp_path}
    job = dataclasses.replace(
        JOB, model=shape, precision="bf16", **batch, **folders, on_gpu=False, compile=False
    )
    jobs.save_weights(job)
    timer = clock.StepClock(warmup=0, steps=1)
    model, _ = trainer.train(job, job.recipe("hf-seed"), timer, torch.device("cpu"))
    exact = GPT2LMHeadModel(model.config)
    exact.load_state_dict(model.state_dict())
    ids = torch.arange(32)[None]
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, exact.eval()(ids).logits)


def test_every_rung_of_the_ladder_has_one_switch_more() -> None:
    names = recipes.ladder(20)
    rungs = [dataclasses.asdict(recipes.recipe_of(name)) for name in names]
    for before, after in itertools.pairwise(rungs):
        assert sum(before[name] != after[name] for name in before) == 1
    best = recipes.recipe_of("hf-best")
    assert recipes.recipe_of("loop") == dataclasses.replace(best, loop="bare", compile=False)
    assert names[-3:] == ["bare", "gpt2zh-1", "gpt2zh-1@40"]


def test_an_arm_is_named_with_its_micro_batch_or_refused() -> None:
    assert recipes.recipe_of("bare@16").micro_batch == 16
    assert JOB.recipe("bare@16").micro_batch == 16
    assert JOB.recipe("bare").micro_batch == 20
    for wrong in ("bear", "bare@", "bare@many"):
        with pytest.raises(SystemExit, match="there are: hf-seed, hf-best"):
            recipes.recipe_of(wrong)


def test_the_seed_keeps_its_micro_batch_and_a_cpu_its_precision() -> None:
    large = dataclasses.replace(JOB, micro_batch=160)
    assert large.recipe("hf-seed").micro_batch == 20
    assert large.recipe("hf-best").micro_batch == 160
    plain = dataclasses.replace(JOB, precision="fp32", compile=False)
    bare = plain.recipe("bare")
    assert (bare.precision, bare.half_weights, bare.compile) == ("fp32", False, False)


def test_shards_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*nowhere"):
        dataclasses.replace(JOB, shards=tmp_path / "nowhere").data()


def rounds_of(*losses: float, held_out: float = 4.0) -> list[dict]:
    return [{"losses": {str(n): loss for n, loss in enumerate(losses, 1)}, "held_out": held_out}]


REFERENCE = rounds_of(8.0, 7.0, 6.0)[0]


@pytest.mark.parametrize(
    ("arm", "rounds", "why"),
    [
        ("gpt2zh-1", rounds_of(8.0, 7.0, 6.0), None),
        ("gpt2zh-1", rounds_of(8.001, 7.001, 6.001, held_out=4.004), None),
        ("gpt2zh-1", rounds_of(8.0, 7.05, 6.0), "loss at step 2 is 7.0500, bare's is 7.0000"),
        ("gpt2zh-1", rounds_of(8.016, 7.014, 6.012), "losses are off by 0.20% on average"),
        ("gpt2zh-1", rounds_of(8.0, 7.0, 6.0, held_out=4.02), "held-out loss is 4.0200"),
        ("gpt2zh-1", rounds_of(8.0, math.nan, 6.0), "loss at step 2 is nan"),
        ("gpt2zh-1", [*rounds_of(8.0, 7.0, 6.0), *rounds_of(8.0, 7.0, 5.9)], "at step 3 is 5.9"),
        ("gpt2zh-1", [*rounds_of(8.0), {"error": "exit code 1"}], "failed: exit code 1"),
        ("gpt2zh-1", rounds_of(), "it has logged no losses"),
        ("hf-seed", rounds_of(8.1, 7.1, 6.1, held_out=4.05), None),
        ("hf-seed", rounds_of(8.1, 7.1, 6.3), "allowed are 3.00%"),
        ("hf-seed", rounds_of(8.1, 7.1, 6.1, held_out=4.1), "held-out loss is 4.1000"),
    ],
)
def test_losses_that_disagree_make_a_row_void(
    arm: str, rounds: list[dict], why: str | None
) -> None:
    found = judge.why_void(JOB.recipe(arm), rounds, REFERENCE)
    assert found is None if why is None else why in str(found)


def test_without_a_reference_nothing_counts() -> None:
    found = judge.why_void(JOB.recipe("hf-best"), rounds_of(8.0), None)
    assert found == "there are no losses of bare to compare with"


def test_a_window_holds_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    steps = clock.StepClock(warmup=2, steps=3)
    now[0] += 10.0  # loading
    for step in range(6):
        steps.step_begins()
        now[0] += step + 0.25
    assert steps.figures(torch.device("cpu"))["step_seconds"] == [2.25, 3.25, 4.25]


def test_a_window_that_did_not_end_is_no_measurement() -> None:
    steps = clock.StepClock(warmup=0, steps=3)
    for _ in range(3):
        steps.step_begins()
    with pytest.raises(AssertionError, match="3 steps began"):
        steps.figures(torch.device("cpu"))


@pytest.mark.parametrize("device", ["AMD EPYC", "NVIDIA H200", "NVIDIA GeForce RTX 3090"])
def test_the_report_predicts_the_card_of_the_goal_and_its_own(device: str) -> None:
    shape = {"layers": 12, "heads": 12, "width": 768, "context": 512}
    facts = {"facts": {"vocabulary": 32_000}, "machine": {"device": device}}
    told = report.predicted({"job": {"model": shape}} | facts)
    cards = re.findall(r"(\w[\w ]+): [\d,]+ \(MFU \d\d%\), at best [\d,]+", told)
    assert cards == (["RTX 3090", "H200"] if "H200" in device else ["RTX 3090"])
    flops = 6 * (12 * 12 * 768**2 + 32_000 * 768) + 12 * 12 * 768 * 512
    best = 1 / (flops / (0.9 * 71e12) + (180 * 12 * 768 + 12 * 32_000) / 936e9)
    assert (
        f"RTX 3090: {0.7 * best:,.0f} (MFU {0.7 * best * flops / 71e12:.0%}), "
        f"at best {best:,.0f} (MFU {best * flops / 71e12:.0%})"
    ) in told
    assert report.predicted({"job": {"model": shape | {"width": 256}}} | facts) == ""


def test_a_rung_is_compared_with_the_one_before_alone() -> None:
    rows = {
        "loop": {"void": None, "tokens_per_second": 100.0},
        "+compile": {"void": None, "tokens_per_second": 150.0},
        "+causal": {"void": "off", "tokens_per_second": 150.0},
        "+chunked-head": {"void": None, "tokens_per_second": 300.0},
    }
    lines = report._ladder({"job": {"micro_batch": 20}, "arms": rows}).splitlines()[4:]
    assert lines == [
        "| loop | 100 |  |",
        "| +compile | 150 | +50.0% |",
        "| +causal | **void** |  |",
        "| +chunked-head | 300 |  |",
    ]
