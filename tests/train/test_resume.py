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
from ranks import run_ranks
from safetensors.torch import load_file

from gpt2zh.data.shard import ShardSet

pytestmark = pytest.mark.ranks

STEPS, STOP = 7, 3  # 20-odd rows, 8 a step: step 7 lies in the third epoch

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
MIXED = "zero1-mixture"  # two corpora, and sequences that grow: the stop lies among those of 16


def arguments(
    shards: Path, output: Path, zero: dict, precision: str = "fp32", **more: object
) -> list[str]:
    """The command line of a tiny run."""
    ds = output.parent / f"{output.name}.json"
    ds.parent.mkdir(parents=True, exist_ok=True)
    # The scale grows after every third good step; too large at first, it skips some steps.
    power = 21 if "overflow" in str(output) else 12
    scaling = {"initial_scale_power": power, "loss_scale_window": 3, "hysteresis": 1}
    ds.write_text(json.dumps({"zero_optimization": zero, "fp16": scaling}))
    options = {
        "data": shards,
        "output": output,
        "deepspeed-config": ds,
        "model.layers": 2,
        "model.heads": 2,
        "model.width": 30,  # 3 ranks do not divide all parameters of this width
        "model.context": 32,
        "model.dropout": 0.1,
        "train.steps": STEPS,
        "train.global_batch": 8,
        "train.micro_batch": 2,
        "train.precision": precision,
        "optimizer.lr": 0.01,
        "optimizer.warmup_steps": 4,
        "log.every": 1,
        "validation.every": "4steps",
        "validation.sample_tokens": 4,
        "checkpoint.every": "never",
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return [f"--{name}={value}" for name, value in options.items()]


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Weights and moments of a checkpoint."""
    found = {}
    for path in checkpoint.glob("*.safetensors"):
        found |= load_file(path)
    return found


def losses(run: Path, figure: str = "loss") -> list[tuple[int, float]]:
    """Step and loss, or another figure, of every training line of metrics.jsonl."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [(line["step"], line[figure]) for line in lines if line["kind"] == "train"]


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
        more |= {"data": f"{tiny_shards}:0.7", "train__curriculum": "8:2steps,16:2steps"}
        output = folder / MIXED / name
        return [
            *arguments(tiny_shards, output, {"stage": 1}, **more),
            f"--data={other_shards}:0.3",
        ]

    for kinds, fp16 in ((EXACT, False), (HALF, True)):
        stop = {"stop_after": f"{STOP}steps"}
        first = cases(kinds, "whole") + cases(kinds, "parts", **stop)
        second = cases(kinds, "parts")
        if not fp16:
            first += [mixed("whole"), mixed("parts", **stop)]
            second += [mixed("parts")]
        run_ranks("pretrain_cases.py", 2, {"cases": first, "fp16": fp16})
        run_ranks("pretrain_cases.py", 2, {"cases": second, "fp16": fp16})
    return folder


@pytest.mark.parametrize("case", [*EXACT, *HALF, MIXED])
def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(exact: Path, case: str) -> None:
    whole = tensors(exact / case / "whole" / f"checkpoint-{STEPS}")
    parts = tensors(exact / case / "parts" / f"checkpoint-{STEPS}")
    assert whole.keys() == parts.keys()
    assert any(name.startswith("exp_avg_sq.") for name in whole)
    different = [name for name in whole if not torch.equal(whole[name], parts[name])]
    assert not different
    assert losses(exact / case / "whole") == losses(exact / case / "parts")
    assert [step for step, _ in losses(exact / case / "parts")] == list(range(1, STEPS + 1))


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


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """One run without dropout, whole on 2 ranks, and continued on others from step 3."""
    folder = tmp_path_factory.mktemp("elastic")

    def case(name: str, zero: dict, **more: object) -> list[str]:
        return arguments(
            tiny_shards, folder / name, zero, **{"model.dropout": 0.0, "seed": 5} | more
        )

    stopped = {"stop_after": f"{STOP}steps"}
    run_ranks(
        "pretrain_cases.py",
        2,
        {
            "cases": [
                case("whole", {"stage": 1}),
                case("one", {"stage": 3}, **stopped),
                case("four", {"stage": 1}, **stopped),
                case("accumulated", {"stage": 2}, **{"train.micro_batch": 1}),
                case("unaccumulated", {"stage": 2}, **{"train.micro_batch": 4}),
            ]
        },
    )
    one = {"train.micro_batch": 4}
    run_ranks(
        "pretrain_cases.py",
        1,
        {
            "cases": [
                case("one", {"stage": 0}, **one),
                case("alone", {"stage": 0}, **one),
                case("alone-by-eight", {"stage": 1}, **{"train.micro_batch": 1}),
                case("alone-at-once", {"stage": 1}, **{"train.micro_batch": 8}),
            ]
        },
    )
    run_ranks("pretrain_cases.py", 4, {"cases": [case("four", {"stage": 3})]})
    return folder


RUNS = ["one", "four", "alone", "alone-by-eight", "alone-at-once", "accumulated", "unaccumulated"]


@pytest.mark.parametrize("name", RUNS)
def test_losses_depend_neither_on_ranks_nor_stage_nor_accumulation(
    elastic: Path, name: str
) -> None:
    expected = [loss for _, loss in losses(elastic / "whole")]
    assert [loss for _, loss in losses(elastic / name)] == pytest.approx(expected, rel=1e-6)


def test_resume_on_other_ranks_restores_every_moment(elastic: Path) -> None:
    expected = tensors(elastic / "whole" / f"checkpoint-{STEPS}")
    for name in ("one", "four"):
        found = tensors(elastic / name / f"checkpoint-{STEPS}")
        for key, value in expected.items():
            assert (found[key] - value).norm() < 1e-3 * value.norm(), (name, key)
