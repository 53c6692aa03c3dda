"""The tensors of a checkpoint: which are read, whether they fit, and how much two differ."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_facts, write_checkpoint
from safetensors.torch import load_file, save_file
from tiny_runs import go
from verifying import altered

from gpt2zh.checkpoint.tensor_reader import measure_difference, open_tensors, require_fitting
from gpt2zh.config.errors import UserError
from gpt2zh.config.exit_codes import Exit
from tests.faults.compare import differences
from tests.faults.tiny import arguments


def test_one_bit_counts() -> None:
    first = torch.linspace(-1, 1, 12).reshape(3, 4)
    other = first.clone()
    assert measure_difference(first, other) is None
    other.view(torch.int32)[1, 1] ^= 1
    gap = measure_difference(first, other)
    assert gap is not None and 0 < gap < 1e-7


def test_the_gap_is_a_share_of_the_largest_number() -> None:
    assert measure_difference(torch.tensor([1.0, -8.0]), torch.tensor([3.0, -8.0])) == 0.25


def test_a_zero_of_another_sign_is_no_gap_but_not_equal() -> None:
    assert measure_difference(torch.tensor(0.0), torch.tensor(-0.0)) == 0.0


def test_what_cannot_be_compared_is_infinitely_far() -> None:
    one, bad = torch.ones(2), torch.tensor([1.0, math.nan])
    assert (
        measure_difference(one, bad) == math.inf
        and measure_difference(one, torch.ones(3)) == math.inf
    )
    assert measure_difference(one, one.bfloat16()) == math.inf
    assert measure_difference(bad, bad.clone()) is None


WEIGHT = "transformer.wpe.weight"
Change = Callable[[torch.Tensor], torch.Tensor | None]


@pytest.fixture
def saved(tmp_path: Path, tiny_vocabulary: Path) -> Path:
    """A checkpoint of two ranks; its model is that of `shapes`."""
    return write_checkpoint(tmp_path, 3, tiny_facts(tiny_vocabulary))


@pytest.fixture
def shapes(tiny_vocabulary: Path) -> dict[str, tuple[int, ...]]:
    model = tiny_facts(tiny_vocabulary).model
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def add_foreign_moments(checkpoint: Path) -> None:
    """Add the moments, and a weight, of a checkpoint that one rank wrote, as a copy of two may."""
    tensors = {}
    for path in checkpoint.glob("optimizer-*.safetensors"):
        tensors |= load_file(path)
    tensors[WEIGHT] = load_file(checkpoint / "model.safetensors")[WEIGHT]
    foreign = {name: tensor * 7 + 1 for name, tensor in tensors.items()}
    save_file(foreign, checkpoint / "optimizer-00000-of-00001.safetensors", {"format": "pt"})


def test_a_file_that_the_manifest_does_not_list_is_never_read(saved: Path) -> None:
    before = {name: tensor.read() for name, tensor in open_tensors(saved).items()}
    add_foreign_moments(saved)
    after = open_tensors(saved)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name].read(), before[name]) for name in before)


@pytest.mark.ranks
def test_a_run_goes_on_as_if_a_foreign_file_were_not_there(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    argv = arguments(tiny_shards, run, {"stage": 1}, steps=5)
    assert go([*argv, "--stop-after=3steps"], run).codes == [Exit.STOPPED] * 2
    add_foreign_moments(run / "checkpoint-3")
    assert go(argv, run).codes == [Exit.DONE] * 2
    text = run.with_suffix(".log").read_text("utf-8")
    assert "optimizer-00000-of-00001.safetensors is not listed in manifest.json" in text
    assert go(arguments(tiny_shards, whole, {"stage": 1}, steps=5), whole).codes == [Exit.DONE] * 2
    assert differences(whole, run, steps=5) == []


def test_a_whole_checkpoint_fits_its_model(saved: Path, shapes: dict) -> None:
    require_fitting(saved, shapes, optimizer="adamw")


MISFITS: dict[str, tuple[str, Change, str]] = {
    "shape": (WEIGHT, lambda t: t[:-1].contiguous(), "has shape [7, 4], but the model has [8, 4]"),
    "type": (WEIGHT, lambda t: t.bfloat16(), "is BF16, not fp32"),
    "no moment": (f"exp_avg_sq.{WEIGHT}", lambda t: None, f"lacks exp_avg_sq.{WEIGHT}"),
    "no weight": (WEIGHT, lambda t: None, f"model.safetensors lacks {WEIGHT}"),
}


@pytest.mark.parametrize(("name", "change", "told"), MISFITS.values(), ids=MISFITS)
def test_a_checkpoint_that_does_not_fit_is_refused_with_value_rule_and_cure(
    saved: Path, shapes: dict, name: str, change: Change, told: str
) -> None:
    altered(saved, name, change)
    with pytest.raises(UserError) as caught:
        require_fitting(saved, shapes, optimizer="adamw")
    message = str(caught.value)
    assert told in message and str(saved) in message and "--resume" in message


def test_a_tensor_of_another_model_is_refused(saved: Path, shapes: dict) -> None:
    del shapes[WEIGHT]
    with pytest.raises(UserError, match=r"holds exp_avg\..*, which the model does not have"):
        require_fitting(saved, shapes, optimizer="adamw")


def test_of_many_faults_the_first_are_listed(saved: Path, shapes: dict) -> None:
    with pytest.raises(UserError, match=r" and \d+ more\. Its weights"):
        require_fitting(
            saved, {f"other.{name}": s for name, s in shapes.items()}, optimizer="adamw"
        )


@pytest.mark.ranks
def test_a_start_from_a_checkpoint_that_does_not_fit_is_refused_without_traceback(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    argv = arguments(tiny_shards, run, {"stage": 1}, steps=5)
    assert go([*argv, "--stop-after=3steps"], run).codes == [Exit.STOPPED] * 2
    altered(run / "checkpoint-3", f"exp_avg.{WEIGHT}", lambda tensor: None)
    kept = Path(shutil.copytree(run / "checkpoint-3", tmp_path / "kept"))
    codes = go(argv, run).codes
    assert Exit.REFUSED in codes and set(codes) <= {Exit.REFUSED, 143}  # SIGTERM from the launcher
    text = run.with_suffix(".log").read_text("utf-8")
    assert f"lacks exp_avg.{WEIGHT}" in text and "Traceback" not in text
    assert open_tensors(run / "checkpoint-3").keys() == open_tensors(kept).keys()
