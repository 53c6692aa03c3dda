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
    bits_per_character,
    held_out_texts,
    lost_share,
    windows,
)
from benchmarks.time_to_loss.runs import Run
from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.schema import ModelConfig
from gpt2zh.data.manifest import read_manifest
from gpt2zh.data.shard import VALIDATION
from gpt2zh.model.build import new_model
from gpt2zh.text.tokenizer import load_tokenizer

from ..conftest import demo_texts, write_csv


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
        *(f"--tokenizer={tiny_vocabulary}", "--tokens=6144", "--held-out=0.05", "--seeds=1"),
        *("--arms", "seed", "ours-third", "--ours", "optimizer.lr=0.001"),
        *(f"--work={work}", f"--json={out}"),
    )
    printed = compare(monkeypatch, capfd, *options)
    found = json.loads(out.read_text("utf-8"))
    runs = {run["arm"]: run for run in found["runs"]}
    assert list(runs) == ["seed", "ours-third"]
    assert [point["step"] for point in runs["seed"]["points"]] == [1, 2, 3, 4, 5, 6]
    assert [point["tokens"] for point in runs["ours-third"]["points"]] == [1024, 2048]
    assert "--optimizer.lr=0.001" in runs["ours-third"]["command"]
    assert "--model.dropout=0.0" in runs["ours-third"]["command"]
    assert "--config=configs/zero_nlp-3090.yaml" in runs["seed"]["command"]
    for points in (run["points"] for run in runs.values()):
        seconds = [point["seconds"] for point in points]
        assert 0 < seconds[0] < seconds[1]
        assert all(2 < point["bits_per_character"] < 12 for point in points)
    assert curve.final(runs["seed"]) < runs["seed"]["points"][0]["bits_per_character"]
    assert 0 < found["text"]["lost_share"] < 0.2
    assert "| ours-third |" in printed and "toy model" in printed
    assert compare(monkeypatch, capfd, "--table", str(out)) == printed

    result = work / "runs" / "seed-1" / "result.json"
    written = result.stat().st_mtime_ns
    assert compare(monkeypatch, capfd, *options) == printed
    assert result.stat().st_mtime_ns == written
    assert not list(work.glob("runs/*/checkpoint-*"))
    with pytest.raises(SystemExit, match="give another --work"):
        compare(monkeypatch, capfd, *options, "--held-out=0.04")


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
    nats = 0.0
    for text in texts:
        ids = tokenizer.encode(text)
        for begin in range(0, len(ids), 10):
            context = [tokenizer.eos_id]
            for token in ids[begin : begin + 10]:
                with torch.no_grad():
                    logits = model(torch.tensor([context])).logits[0, -1].double()
                nats -= float(logits.log_softmax(-1)[token])
                context.append(token)
    for at_once in (1, 2, 64):
        found = bits_per_character(
            model, tokenizer, texts, start=tokenizer.eos_id, rows_at_once=at_once
        )
        assert found == pytest.approx(nats / math.log(2) / sum(map(len, texts)), rel=1e-5)


def test_the_held_out_text_is_read_back(tmp_path: Path, tiny_vocabulary: Path) -> None:
    texts = demo_texts()[:60] + [text[:20] for text in demo_texts()[:60]]
    source, shards = write_csv(tmp_path / "some.csv", texts), tmp_path / "shards"
    prepare(PrepareConfig(input=(str(source),), output=shards, validation_fraction=0.5))
    found = held_out_texts(shards, characters=100_000)
    count = read_manifest(shards).splits[VALIDATION].documents
    assert len({*found} & {*texts}) == len(found) == count > 10
    some = held_out_texts(shards, characters=400)
    assert 300 < sum(map(len, some)) <= 400
    assert {*some} < {*found}
    with pytest.raises(SystemExit, match="no document is held out; give a larger --held-out"):
        held_out_texts(shards, characters=1)
    assert lost_share(load_tokenizer("builtin"), found) == 0
    assert lost_share(load_tokenizer(tiny_vocabulary), ["\u6708\n" * 5]) == 0.5


def point(tokens: int, bits: float, *, rate: float = 10.0) -> dict[str, Any]:
    """A point of a run at so many bits per character."""
    return {"tokens": tokens, "seconds": tokens / rate, "bits_per_character": bits}


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
    assert curve.shares(runs, "ours", "seed", "tokens") == [pytest.approx(150 / 400), None]
    assert curve.shares(runs, "ours", "seed", "seconds")[0] == pytest.approx(15 / 80)
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


def test_the_seed_has_its_own_recipe_and_muon_differs_from_ours_in_one_thing() -> None:
    # a step has 81,920 tokens
    preset = dataclasses.replace(recipes.PRESETS["small"], tokens=76_500 * 81_920)

    def options(name: str) -> dict[str, str]:
        return recipes.options_of(recipes.ARMS[name], preset)

    assert options("seed") == {"config": "zero_nlp-3090.yaml", "optimizer.warmup_steps": "1000"}
    assert options("seed-lr") == {
        "config": "zero_nlp-3090.yaml",
        "optimizer.warmup_steps": "3825",
        "optimizer.lr": "0.0012",
    }
    assert recipes.ARMS["seed"].packing == recipes.ARMS["seed-lr"].packing == "zero_nlp"
    muon, ours = options("ours-muon"), options("ours")
    assert dict(muon.items() - ours.items()) == {"optimizer.kind": "muon", **preset.muon}
    assert recipes.ARMS["ours"].packing == recipes.ARMS["ours-muon"].packing == "full"


@pytest.mark.parametrize("name", list(recipes.ARMS))
@pytest.mark.parametrize("preset", list(recipes.PRESETS))
def test_every_arm_has_the_tokens_of_its_part_of_the_budget(name: str, preset: str) -> None:
    shape, parts = recipes.PRESETS[preset], recipes.ARMS[name].parts
    step = shape.rows * shape.model["context"]
    assert abs(shape.steps(parts) * step - shape.tokens / parts) <= step / 2


def test_a_result_of_other_options_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    preset = recipes.PRESETS["tiny"]
    run = Run(preset=preset, work=tmp_path, name="ours", seed=2, on_gpu=False)
    assert run.earlier() is None
    run.folder.mkdir(parents=True)
    result = {"command": run.portable_command, "points": []}
    (run.folder / "result.json").write_text(json.dumps(result), "utf-8")
    assert run.earlier() == result
    other = dataclasses.replace(run, preset=dataclasses.replace(preset, rows=4))
    with pytest.raises(SystemExit, match="ours, seed 2, was run with other options"):
        other.earlier()


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
        "preset": {"model": {"layers": 4, "width": 128, "context": 128}, "rows": 16, "tokens": 300},
        "text": {"megabytes": 1.0, "documents": 9, "characters": 1000, "lost_share": 0.05},
        "runs": runs,
    }
