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
from transformers import GPT2LMHeadModel

from benchmarks.harness import corpus
from benchmarks.harness.processes import ArmError
from benchmarks.throughput import clock, judge, recipes, report, trainer
from benchmarks.throughput import job as jobs
from benchmarks.throughput.job import Job
from benchmarks.throughput.rounds import Rounds, largest_micro_batch
from gpt2zh.data.shard import ShardSet

ROOT = Path(__file__).parents[2]
JOB = Job(
    shards="",
    weights="",
    layers=12,
    heads=12,
    width=768,
    context=512,
    global_batch=160,
    micro_batch=20,
    warmup=20,
    steps=30,
    on_gpu=True,
    compile=True,
)


def throughput(*options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.throughput", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
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
        assert 0 <= row["wait_share"] < 1 and 0.1 < row["peak_gib"] < 8 and row["mfu"] is None
        rate = 1000 * found["facts"]["tokens_per_step"] / row["median_ms"]
        assert row["tokens_per_second"] == pytest.approx(rate)
    assert 16 * 63 < found["facts"]["tokens_per_step"] <= 16 * 64
    assert found["machine"]["versions"].keys() >= {
        "torch",
        "transformers",
        "accelerate",
        "deepspeed",
    }
    assert found["matrix_product"]["flops"] > 1e8
    assert printed == throughput(f"--table={out}")
    (void,) = [line for line in printed.splitlines() if line.startswith("| half ")]
    assert "**void**" in void and f"{found['arms']['half']['tokens_per_second']:,.0f}" not in void
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.ranks
def test_the_arm_overhead_measures_all_ways_of_taking_a_step(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ("--arms", "overhead", "--layers=2", "--overhead-steps=3", "--precision=bf16")
    printed = throughput(*options, "--stages", "0", "1", f"--json={out}")
    found = json.loads(out.read_text("utf-8"))["overhead"]
    assert found["tensors"] == 28
    cases = [(case["stage"], case["micro_batches"]) for case in found["cases"]]
    assert cases == [(0, 1), (0, 4), (1, 1), (1, 4)]
    for case in found["cases"]:
        assert min(case[f"{way}_ms"] for way in ("torch", "deepspeed", "gpt2zh")) > 0
        assert {len(times) for times in case["times_ms"].values()} == {3}
    by_stage = {(c["stage"], c["micro_batches"]): c["gpt2zh_more_ms"] for c in found["cases"]}
    each = (by_stage[1, 4] - by_stage[1, 1]) / 3
    (row,) = [line for line in printed.splitlines() if line.startswith("| bf16 | 1 |")]
    assert f"| {each:+.2f} | {by_stage[1, 1] - each:+.2f} |" in row
    assert throughput(f"--table={out}") == printed


def test_rows_of_the_demo_differ_however_many_are_wanted(tmp_path: Path) -> None:
    corpus.demo_shards(tmp_path / "shards", rows=2000, row_length=64, vocabulary=0)
    rows = ShardSet.open(tmp_path / "shards")
    assert rows.rows >= 2000  # more than twice the demo's corpus
    different = np.unique(rows.gather(np.arange(rows.rows)), axis=0)
    assert len(different) > 0.98 * rows.rows


def test_what_the_trainer_gives_back_computes_in_fp32(tmp_path: Path, tiny_shards: Path) -> None:
    shape = {"layers": 1, "heads": 1, "width": 16, "context": 32, "precision": "bf16"}
    batch = {"global_batch": 4, "micro_batch": 2, "warmup": 0, "steps": 1}
    folders = {"shards": str(tiny_shards), "weights": str(tmp_path)}
    job = dataclasses.replace(JOB, **shape, **batch, **folders, on_gpu=False, compile=False)
    jobs.save_weights(job)
    recipe = job.applied("hf-seed", recipes.SEED)
    timer = clock.StepClock(warmup=0, steps=1)
    model, _ = trainer.train(job, recipe, timer, torch.device("cpu"))
    exact = GPT2LMHeadModel(model.config)
    exact.load_state_dict(model.state_dict())
    ids = torch.arange(32)[None]
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, exact.eval()(ids).logits)


def test_every_rung_of_the_ladder_has_one_switch_more() -> None:
    rungs = [dataclasses.asdict(recipe) for recipe in recipes.ladder().values()]
    for before, after in itertools.pairwise(rungs):
        assert sum(before[name] != after[name] for name in before) == 1
    start, end = recipes.SEED, list(recipes.ladder().values())[-1]
    assert start == dataclasses.replace(recipes.ladder()["seed-loop"], loop="trainer")
    assert end == dataclasses.replace(recipes.recipe_of("gpt2zh-1"), micro_batch="best")
    assert all(recipes.meaning(name) for name in (*recipes.recipes(), "bare@16", "bare@best"))


def test_an_arm_is_named_with_its_micro_batch_or_refused() -> None:
    assert recipes.recipe_of("bare@16").micro_batch == 16
    assert JOB.applied("bare@16", recipes.recipe_of("bare@16")).micro_batch == 16
    assert JOB.applied("bare", recipes.recipe_of("bare")).micro_batch == 20
    for wrong in ("bear", "bare@", "bare@many"):
        with pytest.raises(SystemExit, match="there are: hf-seed, hf-best"):
            recipes.recipe_of(wrong)


def test_the_seed_keeps_its_micro_batch_and_a_cpu_its_precision() -> None:
    large = dataclasses.replace(JOB, micro_batch=160)
    assert large.applied("hf-seed", recipes.SEED).micro_batch == 20
    assert large.applied("hf-best", recipes.recipe_of("hf-best")).micro_batch == 160
    plain = dataclasses.replace(JOB, precision="fp32", compile=False)
    bare = plain.applied("bare", recipes.recipe_of("bare"))
    assert (bare.precision, bare.half_weights, bare.compile) == ("fp32", False, False)


def rounds_of(*losses: float, held_out: float = 4.0) -> list[dict]:
    return [{"losses": {str(n): loss for n, loss in enumerate(losses, 1)}, "held_out": held_out}]


REFERENCE = judge.Reference.of(rounds_of(8.0, 7.0, 6.0))


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
    found = judge.why_void(JOB, arm, rounds, REFERENCE)
    assert found is None if why is None else why in str(found)


def test_without_a_reference_nothing_counts() -> None:
    assert judge.Reference.of([{"error": "exit code 1"}]) is None
    found = judge.why_void(JOB, "hf-best", rounds_of(8.0), None)
    assert found == "there are no losses of bare to compare with"


def test_a_window_holds_its_steps_and_the_waits_within_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    steps = clock.StepClock(warmup=2, steps=3)
    now[0] += 10.0  # loading
    for step in range(6):
        steps.step_begins()
        with steps.waiting():
            now[0] += 0.25
        now[0] += step
    figures = steps.figures()
    assert figures["step_seconds"] == [2.25, 3.25, 4.25]
    assert figures["wall_seconds"] == 9.75
    assert figures["wait_seconds"] == 0.75
    assert figures["ready_seconds"] == 10.25


def test_a_window_that_did_not_end_is_no_measurement() -> None:
    steps = clock.StepClock(warmup=0, steps=3)
    for _ in range(3):
        steps.step_begins()
    with pytest.raises(AssertionError, match="3 steps began"):
        steps.figures()


def test_the_largest_micro_batch_is_the_first_that_does_not_lack_memory() -> None:
    tried = []

    def fits(rows: int) -> None:
        tried.append(rows)
        if rows > 32:
            raise ArmError("exit code 1: CUDA out of memory")

    assert largest_micro_batch(160, fits) == 32
    assert tried == [160, 80, 40, 32]

    def breaks(rows: int) -> None:
        raise ArmError(f"exit code 1: no compiler for {rows}")

    with pytest.raises(ArmError, match="no compiler for 160"):
        largest_micro_batch(160, breaks)


@pytest.mark.parametrize("why", ["no compiler", "CUDA out of memory"])
def test_an_arm_without_a_largest_micro_batch_is_not_measured_with_a_small_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    def start(rounds: Rounds, name: str, job: Job = JOB) -> dict:
        if name == "device":
            return {}
        assert name == "bare@160" or job.steps == 1, "only the probe tries others"
        raise ArmError(f"exit code 1: {why}")

    monkeypatch.setattr(Rounds, "start", start)
    _, found = Rounds(JOB, tmp_path).run(["bare@best"], 1)
    assert found == {"bare@best": [{"error": f"exit code 1: {why}"}]}


def test_figures_of_the_card_are_medians_of_those_it_tells() -> None:
    assert clock.parse_samples("1695, 349.1, 71\n1700, 350.3, 73\n1650, 340.0, 75\n") == {
        "clock_mhz": 1695.0,
        "watt": 349.1,
        "celsius": 73.0,
    }
    assert clock.parse_samples("1695, [N/A], 71\n") == {"clock_mhz": 1695.0, "celsius": 71.0}
    assert clock.parse_samples("") == {}


@pytest.mark.parametrize("device", ["AMD EPYC", "NVIDIA H200", "NVIDIA GeForce RTX 3090"])
def test_the_report_predicts_the_card_of_the_goal_and_its_own(device: str) -> None:
    shape = {"layers": 12, "heads": 12, "width": 768, "context": 512}
    facts = {"facts": {"vocabulary": 32_000}, "machine": {"device": device}}
    told = report.predicted({"job": shape} | facts)
    cards = re.findall(r"(\w[\w ]+): [\d,]+ tokens/s \(MFU \d\d%\), at best [\d,]+", told)
    assert cards == (["RTX 3090", "H200"] if "H200" in device else ["RTX 3090"])
    flops = 6 * (12 * 12 * 768**2 + 32_000 * 768) + 12 * 12 * 768 * 512
    best = 1 / (flops / (0.9 * 71e12) + (180 * 12 * 768 + 12 * 32_000) / 936e9)
    assert (
        f"RTX 3090: {0.7 * best:,.0f} tokens/s (MFU {0.7 * best * flops / 71e12:.0%}), "
        f"at best {best:,.0f} (MFU {best * flops / 71e12:.0%})"
    ) in told
    assert report.predicted({"job": shape | {"width": 256}} | facts) == ""


def test_a_rung_is_compared_with_the_one_before_alone() -> None:
    rung = {"void": None, "peak_gib": 1.0}
    rows = {
        "seed-loop": rung | {"tokens_per_second": 100.0},
        "+bf16": rung | {"tokens_per_second": 150.0},
        "+sdpa": rung | {"tokens_per_second": 150.0, "void": "off"},
        "+no-dropout": rung | {"tokens_per_second": 300.0},
    }
    lines = report._ladder({"arms": rows}).splitlines()[4:]
    changes = [line.split(" | ")[2:4] for line in lines]
    assert changes == [["100", ""], ["150", "+50.0%"], ["**void**", ""], ["300", ""]]


def test_goals_are_told_for_a_gpu_and_only_of_rows_that_count() -> None:
    row = {"void": None, "tokens_per_second": 60_000.0}
    table = {
        "machine": {"on_gpu": True},
        "arms": {
            "hf-seed": row | {"tokens_per_second": 20_000.0},
            "hf-best": row | {"tokens_per_second": 55_000.0},
            "bare": row | {"void": "off"},
            "gpt2zh-1": row,
        },
    }
    lines = report._goals(table).splitlines()[2:]
    assert lines == [
        "| gpt2zh-1 / hf-seed | >= 2.5 | 3.00 | met |",
        "| gpt2zh-1 / hf-best | >= 1.2 | 1.09 | **not met** |",
    ]
    assert report._goals(table | {"machine": {"on_gpu": False}}) == ""
