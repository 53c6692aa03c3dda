"""A stopped and resumed run equals an undisturbed one: bit for bit on the same ranks.

Everything runs for real: processes that talk through gloo, DeepSpeed's engine, files. Each module
fixture starts processes as few times as the question allows.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from pretrain_forks import pretrain
from pretraining import STEPS, arguments, losses, tensors
from safetensors.torch import load_file

from gpt2zh.data.shard import ShardSet

pytestmark = pytest.mark.ranks

STOP = 3  # 14 rows, 8 a step: the stop lies in the second epoch, the end in the fourth

# name, ZeRO JSON, precision
EXACT = {
    "zero0-fp32": ({"stage": 0}, "fp32"),
    "zero1-fp32": ({"stage": 1}, "fp32"),
    "zero2-fp32": ({"stage": 2}, "fp32"),
    "zero3-fp32": ({"stage": 3}, "fp32"),
    "zero0-bf16": ({"stage": 0}, "bf16"),
    "zero1-bf16": ({"stage": 1}, "bf16"),
    "zero2-bf16": ({"stage": 2}, "bf16"),
    "zero3-bf16": ({"stage": 3}, "bf16"),
    "zero2-offload-bf16": ({"stage": 2, "offload_optimizer": {"device": "cpu"}}, "bf16"),
    "zero3-offload-fp32": (
        {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}},
        "fp32",
    ),
}
HALF = {f"zero{stage}-fp16": ({"stage": stage}, "fp16") for stage in (0, 1, 2, 3)}
HALF["zero2-fp16-overflow"] = ({"stage": 2}, "fp16")
# Two corpora, and sequences that grow: the stop lies among those of 16 tokens.
MIXED = "zero1-mixture"


MEASURED = {"tokens_per_second", "memory_gib", "mfu"}


def figures(run: Path) -> list[dict]:
    """Every line of metrics.jsonl without what depends on the machine's mood."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    found = [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]
    train = [line for line in found if line["kind"] == "train"]
    assert train and all({"loss", "lr", "gradient_norm", "chain"} <= line.keys() for line in train)
    assert any(line["kind"] == "validation" for line in found)
    return found


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path, other_shards: Path) -> Path:
    """Every case whole, and stopped then resumed in other processes, on 2 ranks."""
    folder = tmp_path_factory.mktemp("exact")

    def cases(kinds: dict, name: str, **more: object) -> list[list[str]]:
        return [
            arguments(tiny_shards, folder / key / name, zero, precision, **more)
            for key, (zero, precision) in kinds.items()
        ]

    def mixed(name: str, **more: object) -> list[str]:
        more |= {
            "data": f"{tiny_shards}:0.7",
            "train__sequence_length_warmup": "8:2steps,16:2steps",
        }
        output = folder / MIXED / name
        return [
            *arguments(tiny_shards, output, {"stage": 1}, **more),
            f"--data={other_shards}:0.3",
        ]

    kinds, stop = EXACT | HALF, {"stop_after": f"{STOP}steps"}
    wholes = [*cases(kinds, "whole"), mixed("whole")]
    pretrain(2, [*wholes, *cases(kinds, "parts", **stop), mixed("parts", **stop)], folder)
    pretrain(2, [*cases(kinds, "parts"), mixed("parts")], folder)
    return folder


@pytest.mark.parametrize("case", [*EXACT, *HALF, MIXED])
def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(exact: Path, case: str) -> None:
    whole = tensors(exact / case / "whole" / f"checkpoint-{STEPS}")
    parts = tensors(exact / case / "parts" / f"checkpoint-{STEPS}")
    assert whole.keys() == parts.keys()
    assert any(name.startswith("exp_avg_sq.") for name in whole)
    different = [name for name in whole if not torch.equal(whole[name], parts[name])]
    assert not different
    assert figures(exact / case / "whole") == figures(exact / case / "parts")
    assert [step for step, _ in losses(exact / case / "parts")] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("case", [*EXACT, *HALF])
def test_the_resumed_part_reads_rows_for_the_third_time_and_more(exact: Path, case: str) -> None:
    epochs = dict(losses(exact / case / "parts", "epoch"))
    assert 1 < epochs[STOP] < 2 < epochs[STOP + 2] and epochs[STEPS] > 3


def test_a_mixture_tells_the_passes_through_each_corpus_and_its_losses(exact: Path) -> None:
    run = exact / MIXED / "parts"
    assert [length for _, length in losses(run, "length")] == [8, 8, 16, 16, 32, 32, 32]
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    sizes = [ShardSet.open(Path(text[:-4]), row_length=32).rows for text in config["data"]]
    lines = list(map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines()))
    last = [line for line in lines if line["kind"] == "train"][-1]
    read = {name: epochs for name, epochs in last.items() if name.startswith("epoch/")}
    assert [name.rpartition("/")[2] for name in read] == ["shards", "shards"]
    counts = [epochs * rows for epochs, rows in zip(read.values(), sizes, strict=True)]
    assert sum(counts) == pytest.approx(8 * STEPS) and 0.6 < counts[0] / sum(counts) < 0.8
    validation = [line for line in lines if line["kind"] == "validation"][-1]
    each = [value for name, value in validation.items() if name.startswith("loss/")]
    assert len(each) == 2 and min(each) < validation["loss"] < max(each)
    bits = [v for name, v in validation.items() if name.startswith("bits_per_character/")]
    assert min(bits) < validation["bits_per_character"] < max(bits)


def test_steps_that_overflow_fp16_are_skipped_and_counted(exact: Path) -> None:
    state = json.loads(
        (exact / f"zero2-fp16-overflow/parts/checkpoint-{STEPS}/trainer_state.json").read_text()
    )
    assert state["progress"]["step"] == STEPS
    assert 0 < state["updates"] < STEPS


def test_the_comparison_can_fail(exact: Path) -> None:
    early = tensors(exact / "zero1-fp32" / "parts" / f"checkpoint-{STOP}")
    late = tensors(exact / "zero1-fp32" / "parts" / f"checkpoint-{STEPS}")
    assert not any(
        torch.equal(early[name], late[name]) for name in early if name.startswith("exp_avg.")
    )


@pytest.mark.parametrize(("precision", "band"), [("fp32", 1e-6), ("bf16", 2e-3), ("fp16", 2e-3)])
def test_all_zero_stages_train_alike(exact: Path, precision: str, band: float) -> None:
    reference = [loss for _, loss in losses(exact / f"zero0-{precision}" / "whole")]
    assert reference[-1] < reference[0] - 0.1
    for stage in (1, 2, 3):
        other = [loss for _, loss in losses(exact / f"zero{stage}-{precision}" / "whole")]
        assert other == pytest.approx(reference, rel=band)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_all_zero_stages_measure_the_same_gradient_norm(exact: Path, stage: int) -> None:
    """DeepSpeed has shipped wrong norms more than once; at stage 0 it measures none in fp32."""
    reference, other = (
        [norm for _, norm in losses(exact / f"zero{s}-fp32" / "whole", "gradient_norm")]
        for s in (0, stage)
    )
    assert len(reference) == STEPS and other == pytest.approx(reference, rel=1e-5)


def test_saved_weights_are_full_precision(exact: Path) -> None:
    weights = load_file(exact / "zero2-bf16" / "whole" / f"checkpoint-{STEPS}/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    low = [not torch.equal(w, w.bfloat16().float()) for w in weights.values() if w.dim() == 2]
    assert all(low)  # they hold more than the bf16 copies do
