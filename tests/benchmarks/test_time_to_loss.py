"""The comparison of recipes runs, scores what it says, and its arithmetic is right."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from benchmarks.time_to_loss import __main__ as time_to_loss
from benchmarks.time_to_loss import curve, recipes, report
from benchmarks.time_to_loss.held_out import (
    HeldOut,
    all_texts,
    bits_per_character,
    held_out_text,
    lost_share,
    score,
    windows,
)
from benchmarks.time_to_loss.job import Job
from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.schema import ModelConfig
from gpt2zh.data.manifest import read_manifest
from gpt2zh.data.shard import VALIDATION
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.text.tokenizer import load_tokenizer

from ..conftest import demo_texts, write_csv

TINY = ("--layers=1", "--heads=2", "--width=32", "--context=32", "--rows=4")


def compare(monkeypatch: pytest.MonkeyPatch, capfd: Any, *options: str) -> str:
    """What the benchmark prints; its arms are real processes."""
    monkeypatch.setattr(sys, "argv", ["time_to_loss.py", *options])
    assert time_to_loss.BENCHMARK.main() == 0
    return str(capfd.readouterr().out)


@pytest.mark.ranks
def test_arms_are_trained_and_scored_on_the_same_text_and_not_made_twice(
    tmp_path: Path, tiny_vocabulary: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out, work = tmp_path / "out.json", tmp_path / "work"
    options = (
        *TINY,
        *(f"--tokenizer={tiny_vocabulary}", "--tokens=1536", "--points=2", "--held-out=0.05"),
        *("--held-out-characters=3000", "--seeds=1", "--arms", "seed", "ours-third", "--jobs=2"),
        *("--ours", "optimizer.lr=0.001"),
        *(f"--work={work}", f"--json={out}"),
    )
    printed = compare(monkeypatch, capfd, *options)
    found = json.loads(out.read_text("utf-8"))
    runs = {run["arm"]: run for run in found["runs"]}
    assert list(runs) == ["seed", "ours-third"]
    assert [point["step"] for point in runs["seed"]["points"]] == [6, 12]
    assert [point["tokens"] for point in runs["ours-third"]["points"]] == [256, 512]
    assert "--optimizer.lr=0.001" in runs["ours-third"]["command"]
    assert "--model.dropout=0.0" in runs["ours-third"]["command"]
    assert "--config=configs/zero_nlp-3090.yaml" in runs["seed"]["command"]
    for points in (run["points"] for run in runs.values()):
        seconds = [point["seconds"] for point in points]
        assert 0 < seconds[0] < seconds[1]
        assert sum(points[0][k]["characters"] for k in curve.KINDS) == found["text"]["characters"]
        for kind in curve.KINDS:  # the tokens do not depend on the packing
            assert points[0][kind]["tokens"] == runs["seed"]["points"][0][kind]["tokens"] > 0
    assert 0 < found["tokenizers"]["given"]["lost"] < 0.2
    assert found["tokenizers"]["builtin"]["lost"] == 0
    assert "| ours-third |" in printed and "toy model" in printed
    assert compare(monkeypatch, capfd, "--table", str(out)) == printed

    result = work / "runs" / "seed-1" / "result.json"
    written = result.stat().st_mtime_ns
    assert compare(monkeypatch, capfd, *options) == printed
    assert result.stat().st_mtime_ns == written
    assert not list(work.glob("runs/*/checkpoint-*"))


def test_windows_hold_every_token_once_behind_the_token_that_begins_a_document() -> None:
    documents = [list(range(10, 17)), [20], list(range(30, 36))]
    rows, labels = windows(documents, start=1, row_length=5)
    assert rows.shape == labels.shape == (3 + 1 + 2, 4)
    assert (rows[:, 0] == 1).all() and (labels[:, 0] == -100).all()
    assert labels[labels != -100].tolist() == [i for ids in documents for i in ids]
    assert (rows[labels != -100] == labels[labels != -100]).all()
    assert labels[2].tolist() == [-100, 16, -100, -100]


def test_the_score_is_that_of_predicting_token_by_token() -> None:
    tokenizer = load_tokenizer("builtin")
    shape = ModelConfig(layers=1, heads=2, width=16, context=12)
    model: GPT2LMHeadModel = new_model(shape, tokenizer, seed=3).eval()
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)  # else all tokens are equally likely
    texts = ["从前有座山，山里有座庙。庙里有个老和尚在讲故事。", "今天天气很好", "好"]
    nats, tokens = 0.0, 0
    for text in texts:
        ids = tokenizer.encode(text)
        for begin in range(0, len(ids), 10):
            context = [tokenizer.eos_id]
            for token in ids[begin : begin + 10]:
                with torch.no_grad():
                    logits = model(torch.tensor([context])).logits[0, -1].double()
                nats -= float(logits.log_softmax(-1)[token])
                context.append(token)
                tokens += 1
    for at_once in (1, 2, 64):
        found = score(
            SummedLoss(model),
            texts,
            tokenizer,
            start=tokenizer.eos_id,
            row_length=12,
            rows_at_once=at_once,
        )
        assert (found["tokens"], found["characters"]) == (tokens, sum(map(len, texts)))
        assert found["nats"] == pytest.approx(nats, rel=1e-5)
    expected = nats / math.log(2) / sum(map(len, texts))
    assert bits_per_character([found]) == pytest.approx(expected, rel=1e-5)


def test_the_held_out_text_is_read_back_and_told_apart_by_the_chunks_of_the_seed(
    tmp_path: Path, tiny_vocabulary: Path
) -> None:
    texts = demo_texts()[:60] + [text[:20] for text in demo_texts()[:60]]
    source, shards = write_csv(tmp_path / "some.csv", texts), tmp_path / "shards"
    prepare(PrepareConfig(input=(str(source),), output=shards, validation_fraction=0.5))
    lossless, judge = load_tokenizer("builtin"), load_tokenizer(tiny_vocabulary)
    take = {"row_length": 32, "characters": 100_000}
    found = held_out_text(shards, lossless, judge, **take)
    count = read_manifest(shards).splits[VALIDATION].documents
    assert len({*all_texts(found)} & {*texts}) == len(list(all_texts(found))) == count
    assert min(len(text) for text in found.long) >= 30 and len(found.long) > 5
    assert max(len(text) for text in found.short) <= 20 and len(found.short) > 5
    some = held_out_text(shards, lossless, judge, **take | {"characters": 400})
    assert 300 < sum(map(len, all_texts(some))) <= 400
    assert {*all_texts(some)} < {*all_texts(found)}
    found.write(tmp_path / "held-out.json")
    assert HeldOut.read(tmp_path / "held-out.json") == found
    assert lost_share(lossless, list(all_texts(found))) == 0
    assert lost_share(judge, ["\u6708\n" * 5]) == 0.5


def point(tokens: int, bits: float, *, rate: float = 10.0) -> dict[str, Any]:
    """A point of a run at so many bits per character of all kinds of text."""
    part = {"nats": bits * math.log(2) * 100, "tokens": 90, "characters": 100}
    return {"tokens": tokens, "seconds": tokens / rate, "long": part, "short": part}


def run_of(arm: str, seed: int, *points: dict[str, Any]) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "points": list(points)}


def test_a_run_crosses_on_the_line_between_two_points() -> None:
    run = run_of("ours", 1, point(100, 8.0), point(200, 6.0), point(300, 5.0, rate=5))
    assert curve.crossing(run, 7.0, "tokens") == pytest.approx(150)
    assert curve.crossing(run, 6.0, "tokens") == pytest.approx(200)
    assert curve.crossing(run, 5.5, "seconds") == pytest.approx((20 + 60) / 2)
    assert curve.crossing(run, 9.0, "tokens") == 100  # nothing is known before
    assert curve.crossing(run, 4.9, "tokens") is None


def test_shares_compare_runs_of_the_same_seed() -> None:
    runs = [
        run_of("seed", 1, point(100, 8.0), point(400, 6.0, rate=5)),
        run_of("seed", 2, point(100, 8.0), point(400, 7.0)),
        run_of("ours", 1, point(100, 8.0), point(200, 4.0)),
        run_of("ours", 2, point(100, 8.0), point(200, 7.5)),
        run_of("ours", 3, point(100, 1.0)),
    ]
    assert curve.shares(runs, "ours", "seed", "tokens") == {1: pytest.approx(150 / 400), 2: None}
    assert curve.shares(runs, "ours", "seed", "seconds")[1] == pytest.approx(15 / 80)
    assert curve.spread([1.0, 2.0, 4.0]) == (pytest.approx(7 / 3), 1.5)


def test_seconds_are_those_of_training_and_the_first_step_counts_as_the_others() -> None:
    train = {"kind": "train"}
    lines = [
        train | {"tokens": 10, "tokens_per_second": 0.1},  # compiles
        train | {"tokens": 50, "tokens_per_second": 20.0},
        {"kind": "validation", "step": 5},
        train | {"tokens": 90, "tokens_per_second": 10.0},
    ]
    line = curve.timeline(map(json.dumps, lines))
    first = 10 / 15
    assert [tokens for tokens, _ in line] == [0, 10, 50, 90]
    assert [seconds for _, seconds in line] == pytest.approx([0, first, first + 2, first + 6])
    assert curve.seconds_at(70, line) == pytest.approx(first + 4)
    assert curve.seconds_at(90, line) == pytest.approx(first + 6)


def test_the_seed_has_its_own_recipe_and_ours_differs_in_one_thing_by_arm() -> None:
    preset = recipes.PRESETS["small"]

    def options(name: str) -> dict[str, str]:
        return recipes.options_of(recipes.ARMS[name], preset, steps=76_500)

    assert options("seed") == {"config": "zero_nlp-3090.yaml", "optimizer.warmup_steps": "1000"}
    assert recipes.ARMS["seed"].packing == "zero_nlp"
    muon, ours = options("ours-muon"), options("ours")
    assert dict(muon.items() - ours.items()) == {"optimizer.kind": "muon", **preset.muon}
    lengths = options("ours-lengths")
    assert lengths.pop("train.sequence_length_warmup") == "128:15300steps,256:15300steps"
    assert lengths == ours


@pytest.mark.parametrize("name", list(recipes.ARMS))
@pytest.mark.parametrize("preset", list(recipes.PRESETS))
def test_every_arm_has_the_tokens_of_its_part_of_the_budget(name: str, preset: str) -> None:
    job = Job(
        **{"input": (), "tokenizer": "", "preset": preset, "layers": 1, "heads": 1, "width": 1},
        **{"context": 32, "rows": 8, "tokens": 960_000, "points": 1, "held_out": 0.1},
        **{"held_out_characters": 1, "on_gpu": False},
    )
    arm = recipes.ARMS[name]
    assert abs(job.steps(arm) * 8 * 32 - 960_000 / arm.parts) <= 8 * 32 / 2  # half a step


def test_another_job_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    shape = {"input": (), "tokenizer": "", "preset": "tiny", "layers": 1, "heads": 1, "width": 1}
    rest = {"context": 32, "rows": 8, "tokens": 9, "points": 1, "held_out": 0.1}
    job = Job(**shape, **rest, held_out_characters=1, on_gpu=False)
    job.keep(tmp_path / "job.json")
    job.keep(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job
    with pytest.raises(SystemExit, match=r"another job \(rows 8 -> 4\); give another --work"):
        dataclasses.replace(job, rows=4).keep(tmp_path / "job.json")


def test_the_verdict_says_plainly_what_was_not_reached() -> None:
    runs = [
        run_of("seed", 1, point(300, 7.0)),
        run_of("seed", 2, point(300, 7.0)),
        run_of("ours-third", 1, point(100, 6.9)),
        run_of("ours-third", 2, point(100, 7.2)),
    ]
    text = report.markdown(table(runs))
    assert "+0.050 +- 0.150 bits/character from seed" in text
    assert "better with 1 of 2 seeds" in text
    assert "a third of its tokens: **not met**" in text
    assert "never with 1 of 2" in text
    met = report.markdown(table([run for run in runs if run["seed"] == 1]))
    assert "a third of its tokens: met" in met
    assert "0.33" in met


def table(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "machine": {
            **{"device": "some CPU", "on_gpu": False, "cores": 2, "python": "3.11"},
            **{"commit": None, "versions": {"torch": "2.13"}},
        },
        "jobs": 1,
        "job": {"layers": 4, "width": 128, "context": 128, "rows": 16, "tokens": 300},
        "text": {"megabytes": 1.0, "characters": 1000, "long_share": 0.5},
        "tokenizers": {"given": {"lost": 0.05}, "builtin": {"lost": 0.0}},
        "runs": runs,
    }
