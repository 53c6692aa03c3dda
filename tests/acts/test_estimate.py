"""`gpt2zh estimate`: its parts add up, and its table tells what fits."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from verifying import gpt2zh

from gpt2zh.acts.estimate import PARTS, make_case
from gpt2zh.acts.estimate_options import EstimateConfig
from gpt2zh.config.cli import dump, parse
from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.schema import PretrainConfig, TrainConfig
from gpt2zh.cost.memory import RESERVE, training_memory
from gpt2zh.plan.fit import setting_of

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "configs").glob("*.yaml"))


def told(capsys: pytest.CaptureFixture, *argv: object) -> list[str]:
    assert gpt2zh("estimate", *argv) == 0
    return capsys.readouterr().out.splitlines()


def gib(lines: list[str], part: str) -> list[float]:
    """The cells of a part: at rest, forward, backward, update."""
    (line,) = (line for line in lines if line.startswith(f"  {part} "))
    return [float(cell) for cell in line.split()[1:5]]


def rows(lines: list[str], name: str) -> list[str]:
    """The cells of a row of the table."""
    (line,) = (line for line in lines if re.match(rf"  {re.escape(name)}  +[-\d]", line))
    return line[2 + len(name) :].split()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_the_parts_of_every_preset_add_up(preset: Path, capsys: pytest.CaptureFixture) -> None:
    lines = told(capsys, f"--config={preset}", "--ranks=2")
    columns = zip(*(gib(lines, part) for part in PARTS), strict=True)
    assert gib(lines, "total") == pytest.approx([sum(column) for column in columns], abs=0.04)
    assert all(gib(lines, "parameters")) and all(gib(lines, "context"))
    assert lines[3].startswith(f"{max(gib(lines, 'total')):.2f} GiB of each GPU by estimate")


def test_what_fits_a_card_fits_and_one_row_more_does_not(capsys: pytest.CaptureFixture) -> None:
    argv = ("--train.precision=bf16", "--cards", "24", "48")
    lines = told(capsys, *argv)
    (options,) = parse(EstimateConfig, argv=argv, prog="estimate")
    case = make_case(options)
    train = dataclasses.replace(case.config.train, micro_batch=1)
    resolved = resolve(case.raw, train, case.config.optimizer, 1)
    setting = setting_of(case.config, resolved, ranks=1, on_gpu=True)
    for card, cell in zip((24, 48), rows(lines, "ZeRO 1"), strict=True):
        for n, fits in ((int(cell), True), (int(cell) + 1, False)):
            memory = training_memory(case.config.model, case.vocabulary, setting, micro_batch=n)
            assert (memory.total <= card * 2**30 * (1 - RESERVE)) == fits


def test_a_model_that_does_not_fit_is_told_what_would(capsys: pytest.CaptureFixture) -> None:
    lines = told(capsys, f"--config={ROOT / 'configs' / 'gpt2-xl.yaml'}", "--cards=24")
    assert rows(lines, "ZeRO 1") == rows(lines, "ZeRO 1, blocks recomputed") == ["-"]
    assert int(rows(lines, "ZeRO 2, optimizer on the host")[0]) > 0
    assert "ZeRO 2, optimizer on the host" in lines[1]  # which a run would choose
    assert max(gib(lines, "total")) < 24
    (host,) = (float(line.split()[1]) for line in lines if line.startswith("and "))
    assert host > 20


def test_recomputation_and_ranks_leave_room_for_more_rows(capsys: pytest.CaptureFixture) -> None:
    small = f"--config={ROOT / 'configs' / 'gpt2-medium.yaml'}"
    alone, four = (told(capsys, small, "--cards=24", f"--ranks={n}") for n in (1, 4))
    for lines in (alone, four):
        assert int(rows(lines, "ZeRO 1, blocks recomputed")[0]) > int(rows(lines, "ZeRO 1")[0])
    assert (
        int(rows(four, "ZeRO 3")[0]) > int(rows(four, "ZeRO 1")[0]) > int(rows(alone, "ZeRO 1")[0])
    )


def test_the_json_of_the_user_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 0}}))
    lines = told(capsys, f"--deepspeed-config={path}", "--cards=24")
    assert lines[1].startswith("training    ZeRO 0, fp32, 8 rows")
    table = [line for line in lines if line.startswith("  ZeRO")]
    assert table[0].startswith("  ZeRO 0") and table[2].startswith("  ZeRO 1")


def test_stages_that_the_config_cannot_have_are_left_out(capsys: pytest.CaptureFixture) -> None:
    """Nobody has asked for stage 3, which cannot be compiled, nor for what Muon cannot have."""
    for wanted, stages in (
        ("--train.compile=auto", {"1", "2", "3"}),
        ("--train.compile=always", {"1", "2"}),
        ("--optimizer.kind=muon", {"1", "2"}),
    ):
        lines = told(capsys, wanted, "--ranks=2", "--cards=24")
        found = {line.split()[1].rstrip(",") for line in lines if line.startswith("  ZeRO")}
        assert found == stages


@pytest.mark.parametrize("table", [None, {"stage": None}, {"offload_optimizer": None}])
def test_what_a_json_leaves_open_with_null_is_not_given(
    table: dict | None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimization": table}))
    lines = told(capsys, f"--deepspeed-config={path}", "--cards=24")
    assert lines[1].startswith("training    ZeRO 0, fp32,")


def test_the_config_of_a_run_is_read(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    raw = tmp_path / "deepspeed_config.json"
    raw.write_text('{"zero_optimization": {"stage": 2}}')
    train = TrainConfig(micro_batch=4, global_batch=160)
    config = PretrainConfig(
        data=("a", "b"),
        output=tmp_path / "run",
        deepspeed_config=raw,
        seed=3,
        skip_rows=("7",),
        train=train,
    )
    (tmp_path / "config.yaml").write_text(dump(config), "utf-8")
    lines = told(capsys, f"--config={tmp_path / 'config.yaml'}", "--ranks=4", "--cards=24")
    assert lines[1].startswith("training    ZeRO 2, fp32, 4 rows x 10 accumulated on each of 4")


def test_what_does_not_fit_the_first_card_is_warned_of(capsys: pytest.CaptureFixture) -> None:
    wide = ("--train.micro-batch=960", "--train.global-batch=960", "--train.precision=bf16")
    assert gpt2zh("estimate", *wide, "--cards=24") == 0
    assert "micro_batch 960 does not fit the first card (24.0 GiB)" in capsys.readouterr().err
    assert gpt2zh("estimate", *wide, "--cards=9999") == 0
    assert capsys.readouterr().err == ""


def test_auto_takes_the_largest_micro_batch_that_the_global_batch_allows(
    capsys: pytest.CaptureFixture,
) -> None:
    auto = ("--train.micro-batch=auto", "--train.precision=bf16", "--train.global-batch=960")
    lines = told(capsys, *auto, "--cards=24")
    (options,) = parse(EstimateConfig, argv=[*auto, "--cards=24"], prog="estimate")
    chosen = make_case(options).config.train.rows_at_once
    most = int(rows(lines, "ZeRO 1")[0])
    assert chosen == max(n for n in range(1, most + 1) if 960 % n == 0) > 1
    assert f"{chosen} rows x {960 // chosen} accumulated" in lines[1]


def test_any_number_of_ranks_can_be_asked_about(capsys: pytest.CaptureFixture) -> None:
    """Also those that the global batch could not be divided among."""
    for micro_batch in ("auto", 7):
        lines = told(capsys, f"--train.micro-batch={micro_batch}", "--ranks=3", "--cards=24")
        assert "accumulated on each of 3 ranks" in lines[1]


def test_the_help_is_of_what_matters_to_memory(capsys: pytest.CaptureFixture) -> None:
    """Presets hold more, which is read and has no effect."""
    with pytest.raises(SystemExit):
        gpt2zh("estimate", "--help")
    text = capsys.readouterr().out
    assert "--cards" in text and "--train.activation_checkpointing" in text
    for unused in ("--checkpoint.keep_last", "--validation.rows", "--data", "--seed", "Not used"):
        assert unused not in text


def test_what_has_no_meaning_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 1, "reduce_bucket_size": "big"}}')
    wrong = ("--ranks=0", "--cards=0", "--vocabulary=0", "--model.heads=5")
    assert gpt2zh("estimate", *wrong, f"--deepspeed-config={path}") == 2
    error = capsys.readouterr().err
    for part in ("ranks is 0", "cards is the memory", "vocabulary is 0", "heads", "'big'"):
        assert part in error


def test_the_vocabulary_may_be_told_instead_of_a_tokenizer(capsys: pytest.CaptureFixture) -> None:
    assert "vocabulary 21,248:" in told(capsys, "--vocabulary=21128", "--cards=24")[0]
