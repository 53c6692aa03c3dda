"""`gpt2zh verify checkpoint`: a sound checkpoint passes, and each kind of fault is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from verifying import altered, copied, gpt2zh, listing, restated, sealed

pytestmark = pytest.mark.ranks

MOMENT = "exp_avg_sq.transformer.h.1.mlp.c_fc.weight"
WEIGHT = "transformer.h.0.attn.c_attn.weight"


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A run on two ranks with the checkpoints 3, 6 and 9."""
    return copied(runs / "run", tmp_path / "run")


def lines_of(capsys: pytest.CaptureFixture, *argv: object) -> tuple[int, list[str]]:
    code = gpt2zh("verify", "checkpoint", *argv)
    return code, capsys.readouterr().out.splitlines()


def test_every_checkpoint_of_a_sound_run_is_complete_and_untouched(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    before = listing(run)
    code, lines = lines_of(capsys, run)
    assert code == 0 and len(lines) == 3
    for step, line in zip((3, 6, 9), lines, strict=True):
        assert line.startswith(f"{run}/checkpoint-{step}: step {step} | 2 ranks | ZeRO 1 | 1.0")
        assert " MiB | chain " in line and line.endswith(" | complete")
    assert listing(run) == before


def test_one_checkpoint_can_be_named(run: Path, capsys: pytest.CaptureFixture) -> None:
    code, lines = lines_of(capsys, run / "checkpoint-6")
    assert code == 0 and len(lines) == 1


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncate, "bytes, should have"),
        (flip, "was altered"),
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
    ],
    ids=["truncated", "flipped", "missing", "empty"],
)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer-00001-of-00002.safetensors", "trainer_state.json"]
)
def test_a_damaged_file_is_named_and_the_others_are_fine(
    run: Path, capsys: pytest.CaptureFixture, name: str, damage: Callable, told: str
) -> None:
    damage(run / "checkpoint-6" / name)
    code, lines = lines_of(capsys, run)
    assert code == 1
    assert [line.rpartition(" | ")[2] for line in lines if not line.startswith(" ")] == [
        "complete",
        "1 fault",
        "complete",
    ]
    (fault,) = [line for line in lines if line.startswith("  ")]
    assert f"{run}/checkpoint-6/{name} " in fault and told in fault


def test_a_checkpoint_without_a_manifest_is_no_checkpoint_but_judged(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    (run / "checkpoint-9" / "manifest.json").unlink()
    code, lines = lines_of(capsys, run / "checkpoint-9")
    assert code == 1 and lines[1].endswith("has no manifest.json")


def set_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor[0, :2] = torch.tensor([float("nan"), float("inf")])
    return tensor


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (MOMENT, set_nan, "has 2 values of 3,600 that are not finite"),
        (WEIGHT, set_nan, "has 2 values of 2,700 that are not finite"),
        (MOMENT, lambda tensor: tensor.T.contiguous(), "has shape [120, 30], but the model has"),
        (MOMENT, lambda tensor: None, "lacks"),
        (WEIGHT, lambda tensor: None, "lacks"),
        (WEIGHT, lambda tensor: tensor.bfloat16(), "is BF16, not fp32"),
    ],
    ids=["moment-nan", "weight-nan", "shape", "moment-gone", "weight-gone", "precision"],
)
def test_bad_numbers_under_a_right_manifest_are_found(
    run: Path, capsys: pytest.CaptureFixture, name: str, change: Callable, told: str
) -> None:
    altered(run / "checkpoint-6", name, change)
    code, lines = lines_of(capsys, run / "checkpoint-6")
    assert code == 1 and lines[0].endswith(" | 1 fault") and len(lines) == 2
    assert name in lines[1] and told in lines[1] and ".safetensors" in lines[1]


def test_a_hundred_faults_are_not_all_printed(run: Path, capsys: pytest.CaptureFixture) -> None:
    path = run / "checkpoint-6" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"n_layer": 6}), "utf-8")
    sealed(run / "checkpoint-6")
    code, lines = lines_of(capsys, run / "checkpoint-6")
    assert code == 1 and lines[0].endswith(" | many faults")
    assert len(lines) == 10 and lines[-1] == "  and more"
    assert lines[1].endswith(" lacks exp_avg.transformer.h.2.attn.c_attn.bias")


def test_a_state_that_contradicts_its_folder_is_found(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    restated(run / "checkpoint-6", step=7, chain="xyz")
    code, lines = lines_of(capsys, run / "checkpoint-6")
    assert code == 1 and len(lines) == 3
    assert "trainer_state.json is of step 7, but its folder of 6" in lines[1]
    assert "trainer_state.json has no valid hash chain" in lines[2]


def test_a_file_of_tensors_that_nobody_vouches_for_is_found(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = run / "checkpoint-6"
    content = (checkpoint / "optimizer-00000-of-00002.safetensors").read_bytes()
    (checkpoint / "optimizer-00000-of-00001.safetensors").write_bytes(content)
    code, lines = lines_of(capsys, checkpoint)
    assert code == 1 and "optimizer-00000-of-00001.safetensors is not listed" in lines[1]


def test_what_is_no_checkpoint_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    for path, told in (
        (tmp_path / "empty", "is not a checkpoint"),
        (tmp_path / "x", "is not a folder"),
    ):
        assert gpt2zh("verify", "checkpoint", path) == 2
        assert f"error: {path} {told}" in capsys.readouterr().err
    assert gpt2zh("verify", "checkpoint") == 2
    assert "required: folder" in capsys.readouterr().err


def test_a_verb_of_two_words_is_listed_explained_and_asked_for(
    capsys: pytest.CaptureFixture,
) -> None:
    for argv in (["--help"], ["verify", "--help"], ["verify", "-h"]):
        assert gpt2zh(*argv) == 0
        assert "  verify checkpoint read every byte" in capsys.readouterr().out
    for argv in (["verify"], ["verify", "chekpoint"], ["verify", "runs/x"]):
        assert gpt2zh(*argv) == 2
        assert "known: verify checkpoint, verify resume" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "told"), [("checkpoint", "--folder"), ("resume", "--from_step")])
def test_help_needs_no_torch(verb: str, told: str) -> None:
    code = (
        "import sys\nfrom gpt2zh.__main__ import main\nsys.argv[0] = 'gpt2zh'\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", verb, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and told in done.stdout, done.stderr
