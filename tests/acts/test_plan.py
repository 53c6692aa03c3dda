"""`gpt2zh plan`: the plan of a run, and the table for other cards and ranks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plans import ROOT, arguments, plan_of, save_checkpoint, snapshot
from verifying import gpt2zh

from gpt2zh.config.cli import dump
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.memory import RESERVE, training_memory
from gpt2zh.plan.describe import describe
from gpt2zh.plan.setup import setting_of

SMALL = ("--train.precision=bf16", "--gpu=RTX 3090")
HEAVY = """
import sys
from gpt2zh.__main__ import main
code = main()
print("HEAVY", sorted({"torch", "transformers", "deepspeed"} & set(sys.modules)))
sys.exit(code)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small"


def printed(capsys: pytest.CaptureFixture, *argv: object) -> str:
    """The output of the verb, which must succeed."""
    capsys.readouterr()
    assert gpt2zh("plan", *argv) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture, *argv: object) -> str:
    """The message of the verb, which must refuse and print no plan."""
    capsys.readouterr()
    assert gpt2zh("plan", *argv) == 2
    out, error = capsys.readouterr()
    assert "model  " not in out
    return error


def table(text: str) -> dict[tuple[str, str], list[str]]:
    """GiB per rank, most rows, seconds and tokens per second, by setting and recomputation."""
    lines = re.findall(r"^([ *]) (ZeRO \d.*?) +(yes|no) +(.*)$", text, re.MULTILINE)
    return {(name, again): cells.split() for _, name, again, cells in lines}


def planned(text: str) -> list[str]:
    """The setting of the plan and whether it recomputes."""
    return re.findall(r"^\* (ZeRO \d.*?) +(yes|no) ", text, re.MULTILINE)


def test_the_plan_of_a_run_is_printed_and_nothing_is_written(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    before = snapshot(tiny_shards)
    text = printed(capsys, *arguments(tiny_shards, run))
    assert text == describe(plan_of(tiny_shards, run)) + "\n"
    assert not run.parent.exists() and snapshot(tiny_shards) == before


@pytest.mark.parametrize("data", ["gone", "none"])
def test_a_run_is_reckoned_with_its_own_vocabulary_where_its_shards_are_not(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture, tmp_path: Path, data: str
) -> None:
    plan = plan_of(tiny_shards, run)
    save_checkpoint(plan, 2)
    plan.data.tokenizer.save(run / "checkpoint-2")
    gone = (f"--data={tmp_path / 'gone'}",) if data == "gone" else ()
    text = printed(capsys, f"--output={run}", "--gpu=A100", *gone)
    assert f"vocabulary  that of the run, from {run}/checkpoint-2" in text
    assert ("is not here" in text) is (data == "gone")
    assert f"({plan.data.tokenizer.vocab_size:,} used)" in text
    assert "(50 used)" in printed(capsys, f"--output={run}", "--gpu=A100", "--vocabulary=50")


def test_shards_that_are_not_there_are_refused_without_a_checkpoint(
    run: Path, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    message = refusal(capsys, f"--data={tmp_path / 'gone'}", f"--output={run}", "--gpu=A100")
    assert "gone is not a folder" in message


def test_a_run_that_is_continued(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 2)
    text = printed(capsys, *arguments(tiny_shards, run, optimizer__lr=0.5, train__steps=3))
    assert f"continues from {checkpoint}" in text
    assert "optimizer.lr 0.0006 -> 0.5" in text


def test_a_plan_without_an_output_is_of_a_new_run(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = [flag for flag in arguments(tiny_shards, run) if not flag.startswith("--output")]
    text = printed(capsys, *argv)
    assert text.startswith("run         (no --output): starts from scratch\nmodel  ")
    assert "steps per epoch" in text


def test_ranks_that_are_not_here_add_a_table(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    text = printed(capsys, *arguments(tiny_shards, run), "--ranks=2", "--gpu=A100")
    plan = plan_of(tiny_shards, run)
    assert "(2 ranks x 2 rows x 2 accumulated)" in text and f"steps       {plan.steps}" in text
    assert "predicted, not measured: 2 x A100 of 40 GiB in 1 machine, 200.0 GB/s" in text
    assert planned(text) == [("ZeRO 1", "no")]


def test_without_data_nothing_is_said_of_steps(capsys: pytest.CaptureFixture) -> None:
    text = printed(capsys, *SMALL, "--vocabulary=21128")
    assert text.startswith("model       GPT-2, 12 layers x 768, context 512, vocabulary 21,248")
    assert "(21,128 used)" in text and "batch       160 rows" in text and "memory  " in text
    assert not re.search("^(run|data|steps) ", text, re.MULTILINE)
    assert "vocabulary 32,000 (32,000 used)" in printed(capsys, *SMALL)  # the builtin tokenizer


def test_two_cards_have_the_same_memory_and_another_speed(capsys: pytest.CaptureFixture) -> None:
    small, large = (
        printed(capsys, "--train.precision=bf16", f"--gpu={card}") for card in ("rtx-3090", "H100")
    )
    assert "1 x RTX 3090 of 24 GiB in 1 machine\n" in small and "1 x H100 of 80 GiB" in large
    before, after = table(small)["ZeRO 1", "no"], table(large)["ZeRO 1", "no"]
    assert before[0] == after[0]
    assert 3 * int(before[1]) < int(after[1])
    assert float(before[2]) > float(after[2])
    rates = [float(cells[3].replace(",", "")) for cells in (before, after)]
    assert 3 * rates[0] < rates[1]
    for cells, rate in zip((before, after), rates, strict=True):
        assert rate == pytest.approx(160 * 512 / float(cells[2]), rel=0.05)


@pytest.mark.parametrize(("card", "gib"), [("RTX 3090", 24), ("L40S", 48)])
def test_the_largest_micro_batch_fits_and_one_row_more_does_not(
    card: str, gib: int, tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    model = ModelConfig(layers=8, heads=2, width=1024, context=32)
    shape = {"model__width": 1024, "model__layers": 8, "train__micro_batch": 1}
    text = printed(capsys, *arguments(tiny_shards, run, **shape), f"--gpu={card}")
    plan = plan_of(tiny_shards, run, **shape)
    setting = setting_of(plan.config, plan.resolved, ranks=1, on_gpu=True)
    most = int(table(text)["ZeRO 1", "no"][1])
    for rows, fits in ((most, True), (most + 1, False)):
        needed = training_memory(model, plan.vocabulary, setting, micro_batch=rows).total
        assert (needed <= gib * 2**30 * (1 - RESERVE)) == fits


def test_a_model_that_does_not_fit_shows_what_would(capsys: pytest.CaptureFixture) -> None:
    text = printed(capsys, f"--config={ROOT / 'configs' / 'gpt2-xl.yaml'}", "--gpu=RTX 3090")
    rows = table(text)
    assert rows["ZeRO 1", "no"][1:] == rows["ZeRO 1", "yes"][1:] == ["-", "-", "-"]
    assert planned(text) == [("ZeRO 2, optimizer on the host", "yes")]
    away = rows["ZeRO 2, optimizer on the host", "yes"]
    assert int(away[1]) > 0 and away[2:] == ["-", "-"]  # fits, but its speed is not predicted
    assert re.search(r"and 2\d\.\d\d GiB of host memory", text)


def test_more_ranks_and_recomputation_leave_room_for_more_rows(
    capsys: pytest.CaptureFixture,
) -> None:
    medium = f"--config={ROOT / 'configs' / 'gpt2-medium.yaml'}"
    alone, four = (
        table(printed(capsys, medium, "--gpu=RTX 3090", f"--ranks={ranks}")) for ranks in (1, 4)
    )
    for rows in (alone, four):
        assert int(rows["ZeRO 1", "yes"][1]) > int(rows["ZeRO 1", "no"][1])
    most = [int(four[stage, "no"][1]) for stage in ("ZeRO 3", "ZeRO 1")]
    assert most[0] > most[1] > int(alone["ZeRO 1", "no"][1])
    assert ("ZeRO 3", "no") not in alone  # a single rank shares with nobody


def test_machines_wait_for_their_network(capsys: pytest.CaptureFixture) -> None:
    def seconds(*more: str) -> float:
        text = printed(capsys, *SMALL, "--ranks=4", *more)
        return float(table(text)["ZeRO 1", "no"][2])

    together = seconds("--network=1")
    assert seconds("--network=400") == together  # in one machine there is no network
    apart = [seconds("--ranks-per-machine=2", f"--network={rate}") for rate in (400, 10, 1)]
    assert together == apart[0] < apart[1] < apart[2]
    text = printed(capsys, *SMALL, "--ranks=4", "--ranks-per-machine=2", "--network=10")
    assert "4 x RTX 3090 of 24 GiB in 2 machines, 0.9 GB/s between ranks" in text


def test_the_json_of_the_user_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 0}}))
    text = printed(capsys, f"--deepspeed-config={path}", *SMALL)
    assert "engine      ZeRO 0, bf16, adamw" in text
    assert list(table(text))[:3] == [("ZeRO 0", "no"), ("ZeRO 0", "yes"), ("ZeRO 1", "no")]
    assert planned(text) == [("ZeRO 0", "no")]


def test_stages_that_the_config_cannot_have_are_left_out(capsys: pytest.CaptureFixture) -> None:
    """Stage 3 cannot be compiled or train with Muon; nobody asked for it, so it is no error."""
    for wanted, stages in (
        ("--train.compile=auto", {"1", "2", "3"}),
        ("--train.compile=always", {"1", "2"}),
        ("--optimizer.kind=muon", {"1", "2"}),
    ):
        found = table(printed(capsys, wanted, "--ranks=2"))
        assert {name.split()[1].rstrip(",") for name, _ in found} == stages


def test_auto_takes_the_largest_micro_batch_that_divides(capsys: pytest.CaptureFixture) -> None:
    text = printed(capsys, *SMALL, "--train.micro-batch=auto", "--train.global-batch=960")
    match = re.search(r"\(1 rank x (\d+) rows x (\d+) accumulated\)", text)
    assert match is not None
    most = int(table(text)["ZeRO 1", "no"][1])
    taken = max(rows for rows in range(1, most + 1) if 960 % rows == 0)
    assert (int(match[1]), int(match[2])) == (taken, 960 // taken)


def test_a_micro_batch_that_does_not_fit_is_warned_of(capsys: pytest.CaptureFixture) -> None:
    wide = ("--train.micro-batch=960", "--train.global-batch=960")
    assert gpt2zh("plan", *SMALL, *wide) == 0
    out, error = capsys.readouterr()
    assert "train.micro_batch 960 does not fit RTX 3090 (24.0 GiB)" in error
    assert table(out)["ZeRO 1", "no"][2:] == ["-", "-"]


def test_the_config_of_a_run_is_read_also_where_its_data_are_not(
    tiny_shards: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = plan_of(tiny_shards, run, seed=3).config
    path = tmp_path / "config.yaml"
    path.write_text(dump(config).replace(str(tiny_shards), str(tmp_path / "gone")), "utf-8")
    assert f"{tmp_path / 'gone'}" in refusal(capsys, f"--config={path}")
    text = printed(capsys, f"--config={path}", "--data")
    assert "2 layers x 30" in text and planned(text) == [("ZeRO 1", "no")]


def test_a_disk_of_this_machine_is_only_a_warning_for_others(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    argv = arguments(tiny_shards, tmp_path / "file" / "run")
    assert "cannot be written" in refusal(capsys, *argv)
    assert "cannot be written" in refusal(capsys, *argv, "--gpu=A100")
    assert gpt2zh("plan", *argv, "--ranks=2") == 0
    out, error = capsys.readouterr()
    assert "warning: --output" in error and "the run is planned for others" in error
    assert planned(out) == [("ZeRO 1", "no")]


def test_the_folder_of_another_run_is_refused_for_any_ranks(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    save_checkpoint(plan_of(tiny_shards, run), 2)
    for more in ((), ("--ranks=2",)):
        error = refusal(capsys, *arguments(tiny_shards, run, seed=2), *more)
        assert "seed: 1 in" in error and "use another --output" in error


def test_options_without_a_meaning_are_refused_together(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    wrong = ("--ranks=0", "--ranks-per-machine=0", "--vocabulary=0", "--network=0")
    error = refusal(capsys, *wrong)
    for name in ("ranks", "ranks-per-machine", "vocabulary"):
        assert f"--{name} is 0; it must be 1 or more" in error
    assert "--network is 0.0; it must be above 0" in error and "4 faults" in error
    assert "only for a plan without --data" in refusal(
        capsys, *arguments(tiny_shards, run), "--vocabulary=100"
    )


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--gpu=RTX 9999"], "--gpu RTX 9999 is not a known card; use one of RTX 3090 Ti, RTX"),
        (["--gpu=V100", "--train.precision=bf16"], "bf16, but V100 has none; use fp16 or fp32"),
        (["--model.heads=5"], "model.heads 5"),
        (["--ranks=3"], "start 1 or 2 or 4 ranks"),
        (["--deepspeed-config=missing.json"], "missing.json"),
        (["--train.micro-batches=3"], "did you mean --train.micro_batch?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_run_could_not_start_with_is_refused(
    argv: list[str], part: str, capsys: pytest.CaptureFixture
) -> None:
    assert part in refusal(capsys, *argv)


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--train.micro_batch=2"], ["--ranks=2", "--gpu=A100"]])
def test_the_command_answers_without_torch(tiny_shards: Path, run: Path, more: list[str]) -> None:
    """Where the device decides nothing, or is named, nothing has to ask for it."""
    argv = [sys.executable, "-c", HEAVY, "plan", *arguments(tiny_shards, run), *more]
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n") and "steps per epoch" in done.stdout
    assert ("tokens/s" in done.stdout) == ("--ranks=2" in more)
    assert not run.parent.exists()


def test_the_help_explains_the_options_of_the_plan(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        gpt2zh("plan", "--help")
    text = capsys.readouterr().out
    for name in ("--ranks", "--ranks_per_machine", "--gpu", "--data", "--train.micro_batch"):
        assert name in text


def test_a_resume_needs_the_folder_of_its_run(capsys: pytest.CaptureFixture) -> None:
    assert "--resume needs --output" in refusal(capsys, "--resume=runs/small/checkpoint-3")
