"""`gpt2zh verify resume` on real runs: it passes what is exact, and each kind of lie fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked_ranks
import psutil
import pytest
import torch
from patience import LIMIT
from ranks import WORKERS
from verifying import altered, copied, gpt2zh, listing, restated

from gpt2zh.files import run_folder as files
from gpt2zh.run import training
from gpt2zh.verify import resume

pytestmark = pytest.mark.ranks

MOMENT = "exp_avg_sq.transformer.h.1.mlp.c_fc.weight"


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """The run with dropout, for a test to lie about."""
    return copied(runs / "run", tmp_path / "run")


Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Exit code and output of the verb, on CPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")

    def verify(*argv: object) -> tuple[int, str, str]:
        code = gpt2zh("verify", "resume", *argv)
        return code, *capsys.readouterr()

    return verify


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ranks of the second training be forks, which import nothing again."""
    monkeypatch.setattr(resume, "run_ranks", forked_ranks.run_ranks)


def test_an_exact_run_passes_and_stays_untouched(run: Path, told: Told) -> None:
    before = listing(run)
    code, out, err = told(run)
    assert code == 0 and not err, out + err
    *_, last = lines = out.splitlines()
    assert last == f"exact: {run}/checkpoint-9 follows from checkpoint-6, bit for bit"
    assert lines[0].startswith("rows        3 steps read the rows in the order of the data")
    assert f"steps 7 to 9 again from {run}/checkpoint-6 on 2 ranks" in lines[1]
    assert "about " in lines[1] and " at the run's speed" in lines[1]
    assert [line[:9] for line in lines if line.startswith("  step ")] == [
        f"  step {step}/" for step in (7, 8, 9)
    ]
    assert "84 of 84 weights and moments are equal in every bit" in out
    assert "3 of 3 steps were logged by the run; their losses and learning rates are equal" in out
    assert listing(run) == before
    assert [path.name for path in run.parent.iterdir()] == ["run"]  # what was trained is deleted


@pytest.mark.usefixtures("forks")
def test_a_moment_that_was_changed_is_named(run: Path, told: Told, tmp_path: Path) -> None:
    def nudge(tensor: torch.Tensor) -> torch.Tensor:
        tensor[3, 4] += 0.5 * tensor.abs().max()
        return tensor

    altered(run / "checkpoint-9", MOMENT, nudge)
    kept = tmp_path / "kept"
    code, out, _ = told(run, f"--keep={kept}")
    assert code == 1, out
    assert f"tensors     DIFFERENT: 1 of 84 differ, {MOMENT} most: by " in out
    assert "losses and learning rates are equal" in out
    assert out.endswith(f"not exact: {run}/checkpoint-9 does not follow from checkpoint-6\n")
    assert not files.find_faults(kept / "checkpoint-9", content=True)
    assert told(run, f"--keep={kept}")[0] == 2  # never over another one


def relogged(run: Path, step: int, **figures: object) -> None:
    """Change what a run has logged of one step."""
    path = run / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for record in records:
        if record["step"] == step and record["kind"] == "train":
            record |= figures
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def test_a_changed_chain_fails_before_anything_is_trained(run: Path, told: Told) -> None:
    relogged(run, 5, chain="ab" * 32)
    code, out, _ = told(run, "--from-step=3", "--to-step=6")
    assert code == 1 and "step 5 is the first whose chain is not that of the data" in out
    assert "nothing was trained" in out and "  step" not in out
    restated(run / "checkpoint-9", chain="cd" * 32)
    code, out, _ = told(run)
    assert code == 1 and "the chain of checkpoint-9 is cdcdcdcdcdcd, but that of the data is" in out


@pytest.mark.usefixtures("forks")
def test_the_first_step_whose_loss_differs_is_named(run: Path, told: Told) -> None:
    relogged(run, 5, loss=1.25)
    relogged(run, 6, loss=1.0)
    code, out, _ = told(run, "--from-step=3", "--to-step=6")
    assert code == 1 and "step 5 is the first whose loss differs: 1.25 in the run" in out
    assert "84 of 84 weights and moments are equal" in out


def test_code_that_draws_other_random_numbers_is_found_out(
    run: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of all others: with the seeds taken away, the same run must fail."""
    monkeypatch.syspath_prepend(WORKERS)
    monkeypatch.setattr(
        resume,
        "run_ranks",
        lambda module, *rest, **more: forked_ranks.run_ranks("launch_without_seeds", *rest, **more),
    )
    code, out, _ = told(run)
    assert code == 1 and "84 of 84 differ" in out, out
    assert "step 7 is the first whose loss differs" in out


@pytest.mark.usefixtures("forks")
def test_other_ranks_are_judged_by_losses_where_there_is_no_dropout(runs: Path, told: Told) -> None:
    code, out, _ = told(runs / "plain", "--ranks=1")
    assert code == 0, out
    assert "rows        read with 1 instead of 2 ranks: chain " in out
    assert "1 of 3 steps were logged by the run" in out or "2 of 3 steps" in out
    assert "(the tolerance for losses is 1e-05)" in out
    assert "similar: " in out.splitlines()[-1] and "exact" not in out


@pytest.mark.usefixtures("forks")
def test_other_ranks_with_dropout_are_judged_by_the_rows_alone(run: Path, told: Told) -> None:
    code, out, _ = told(run, "--ranks=1")
    assert code == 0 and "loss differs" in out and "(not judged)" in out, out
    assert out.splitlines()[-1].startswith(
        f"similar: {run}/checkpoint-9 follows from checkpoint-6 as"
    )


@pytest.mark.usefixtures("forks")
def test_settings_that_a_second_start_changed_are_those_of_the_later_checkpoint(
    runs: Path, told: Told
) -> None:
    code, out, _ = told(runs / "parts")
    assert code == 0, out
    assert f"exact: {runs}/parts/checkpoint-7 follows from checkpoint-5" in out


def test_what_cannot_be_proved_is_refused(
    run: Path, runs: Path, told: Told, tmp_path: Path
) -> None:
    before = listing(run)
    for argv, message in (
        ([tmp_path / "nothing"], "has no checkpoints"),
        ([runs / "single"], "no complete checkpoint before checkpoint-2"),
        ([run, "--ranks=3"], "not a multiple of train.micro_batch x ranks"),
        ([run, "--ranks=0"], "--ranks is 0"),
        ([run, f"--scratch={run}"], "is inside the run"),
        ([run, f"--keep={run}/x/y"], "is inside the run"),
        ([run, f"--scratch={tmp_path}/nothing"], "--scratch"),
    ):
        code, out, err = told(*argv)
        assert code == 2 and message in err and not out, (argv, out, err)
    assert listing(run) == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_act_that_it_does_not_know_is_refused(run: Path, told: Told) -> None:
    for checkpoint in ("checkpoint-9", "checkpoint-6"):
        path = run / checkpoint / "identity.json"
        identity = json.loads(path.read_text("utf-8")) | {"act": "echo"}
        path.write_text(json.dumps(identity), "utf-8")
        restated(run / checkpoint)
    code, _, err = told(run)
    assert code == 2 and "trained by the act 'echo'" in err and "it knows pretrain" in err


def test_other_data_than_the_run_had_is_refused(run: Path, other_shards: Path, told: Told) -> None:
    for checkpoint in ("checkpoint-9", "checkpoint-6"):
        path = run / checkpoint / "identity.json"
        identity = json.loads(path.read_text("utf-8")) | {"data": "0" * 64}
        path.write_text(json.dumps(identity), "utf-8")
        restated(run / checkpoint)
    code, _, err = told(run)
    assert code == 2 and "data: '000000" in err


@pytest.mark.usefixtures("forks")
def test_a_training_that_fails_proves_nothing_and_shows_why(
    run: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the engine does not start")

    monkeypatch.setattr(training, "start", broken)  # the ranks are forks of this process
    code, out, _ = told(run)
    assert code not in (0, 2, 75), out
    assert "the engine does not start" in out and "no result: the training ended with" in out


@pytest.mark.usefixtures("forks")
def test_a_run_that_deletes_the_checkpoint_meanwhile_is_told(
    run: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = resume.run_ranks

    def delayed(*argv: object, **more: object) -> int:
        shutil.rmtree(run / "checkpoint-6")
        return ours(*argv, **more)

    monkeypatch.setattr(resume, "run_ranks", delayed)
    code, _, err = told(run)
    assert code == 2 and f"{run}/checkpoint-6: the run is still training and has deleted it" in err


def test_a_signal_ends_it_and_leaves_nothing_behind(run: Path) -> None:
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gpt2zh", "verify", "resume", str(run)],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("training "):
            break
    while len(children := psutil.Process(process.pid).children()) < 2:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(LIMIT) == 128 + signal.SIGTERM
    assert not [child for child in children if child.is_running()]
    assert [path.name for path in run.parent.iterdir()] == ["run"]
