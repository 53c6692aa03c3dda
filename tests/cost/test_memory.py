"""The estimate of memory against real steps of real engines, on one rank and on two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from held_ranks import found
from settings import setting

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.memory import RESERVE, largest_micro_batch, training_memory
from tests.support.held.cases import Case
from tests.support.held.steps import Found, estimated

pytestmark = pytest.mark.ranks

SHAPE = ModelConfig(layers=4, heads=4, width=160, context=32)
# Buckets that hold most matrices, but not the embedding.
BUCKETS = {"reduce_bucket_size": 110_000}
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}
BOTH = OFFLOAD | {"offload_param": {"device": "cpu"}}
# So few that weights are let go between their uses.
LIMITS = {
    "stage3_param_persistence_threshold": 1000,
    "stage3_prefetch_bucket_size": 50_000,
    "stage3_max_reuse_distance": 200_000,
}


def case(stage: int, precision: str, rows: int, accumulation: int, **more: object) -> Case:
    zero = {"stage": stage} | BUCKETS | more.pop("zero", {})
    model = replace(SHAPE, **more.pop("model", {}))
    return Case("", model, zero, precision, rows, accumulation, **more)


ONE = {
    "0 in fp32": case(0, "fp32", 1, 1),
    "0 in bf16": case(0, "bf16", 1, 2),
    "0 in bf16, Muon": case(0, "bf16", 1, 1, optimizer="muon"),
    "1 in fp32, Muon": case(1, "fp32", 1, 1, optimizer="muon"),
    "2 in bf16, Muon": case(2, "bf16", 1, 2, optimizer="muon"),
    "1 in fp32": case(1, "fp32", 1, 2),
    "1 in bf16": case(1, "bf16", 1, 2),
    "1 in fp16": case(1, "fp16", 1, 2),
    "2 in fp32, overlapped": case(2, "fp32", 1, 2, zero={"overlap_comm": True}),
    "2 in bf16": case(2, "bf16", 1, 1),
    "2 in bf16, offloaded": case(2, "bf16", 1, 2, zero=OFFLOAD),
    "3 in bf16": case(3, "bf16", 1, 2),
    "3 in bf16, all offloaded": case(3, "bf16", 1, 2, zero=BOTH),
    "1 in bf16, summed so": case(1, "bf16", 1, 2, sums="bf16"),
    "1 in bf16, summed so, offloaded": case(1, "bf16", 1, 2, sums="bf16", zero=OFFLOAD),
    "2 in bf16, summed so": case(2, "bf16", 1, 2, sums="bf16"),
    "2 in bf16, summed so, offloaded": case(2, "bf16", 1, 2, sums="bf16", zero=OFFLOAD),
    "3 in bf16, summed so": case(3, "bf16", 1, 2, sums="bf16"),
    "3 in bf16, summed so, all offloaded": case(3, "bf16", 1, 2, sums="bf16", zero=BOTH),
    "many rows": case(1, "bf16", 64, 2),
    "many rows, recomputed": case(2, "bf16", 64, 1, recompute=True),
    "many rows in fp32, gelu_new": case(1, "fp32", 48, 1, model={"activation": "gelu_new"}),
    "two chunks of logits": case(0, "bf16", 256, 1, model={"layers": 1, "width": 32}),
    "a chunk and a rest": case(0, "fp32", 160, 1, model={"layers": 1, "width": 32}),
}
TWO = {
    "1 in fp32": case(1, "fp32", 1, 2),
    "1 in bf16": case(1, "bf16", 1, 2),
    "1 in bf16, Muon": case(1, "bf16", 1, 1, optimizer="muon"),
    "2 in fp16, Muon": case(2, "fp16", 1, 2, optimizer="muon"),
    "1 in bf16, summed so": case(1, "bf16", 1, 2, sums="bf16"),
    "2 in bf16, summed so": case(2, "bf16", 1, 2, sums="bf16"),
    "3 in bf16, summed so": case(3, "bf16", 1, 2, sums="bf16"),
    "2 in bf16, overlapped": case(2, "bf16", 1, 2, zero={"overlap_comm": True}),
    "2 in bf16, offloaded": case(2, "bf16", 1, 2, zero=OFFLOAD),
    "3 in bf16, little kept": case(3, "bf16", 1, 2, zero=LIMITS),
    "3 in bf16, all offloaded": case(3, "bf16", 1, 2, zero=LIMITS | BOTH),
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocab.txt of 1,024 rows with its padding."""
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    characters = [chr(0x4E00 + number) for number in range(1000)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    path.write_text("\n".join(words) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("one")
    return dict(zip(ONE, found(list(ONE.values()), 1, vocabulary, folder), strict=True))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("two")
    return dict(zip(TWO, found(list(TWO.values()), 2, vocabulary, folder), strict=True))


def compare(tried: Case, real: Found, ranks: int) -> None:
    """The estimate is the memory between two steps, and near the peak of one."""
    parts = estimated(tried, real, ranks, on_gpu=False)
    # On a CPU what is offloaded lies in the same memory.
    expected = {part: memory.total + memory.host for part, memory in parts.items()}
    assert expected.pop("rest") == pytest.approx(real.at_rest, rel=0.01)
    peak = max(level.peak for level in real.levels.values())
    assert 0.97 < max(expected.values()) / peak < 1.05, (expected, real.levels)


@pytest.mark.parametrize("name", ONE)
def test_the_estimate_is_what_steps_hold(name: str, one: dict[str, Found]) -> None:
    compare(ONE[name], one[name], 1)


@pytest.mark.parametrize("name", TWO)
def test_the_estimate_is_what_steps_hold_on_two_ranks(name: str, two: dict[str, Found]) -> None:
    compare(TWO[name], two[name], 2)


ON_GPU = {"on_gpu": True, "compile": "auto"}
GPU = setting({"stage": 1, "reduce_bucket_size": 10**8}, **ON_GPU)
AWAY = {"stage": 2} | OFFLOAD
VOCABULARY = 32_000


@pytest.mark.parametrize("gigabytes", [8, 24, 80])
def test_the_largest_micro_batch_fits_and_one_row_more_does_not(gigabytes: int) -> None:
    model, room = ModelConfig(), gigabytes * 2**30
    rows = largest_micro_batch(model, VOCABULARY, GPU, device_bytes=room, most=4096)
    assert rows > 1
    needed = [
        training_memory(model, VOCABULARY, GPU, micro_batch=n).total for n in (rows, rows + 1)
    ]
    assert needed[0] <= room * (1 - RESERVE) < needed[1]


def test_no_row_fits_where_the_states_do_not_and_never_more_than_asked_for() -> None:
    large = ModelConfig(layers=48, heads=25, width=1600)
    size = {"device_bytes": 24 * 2**30, "most": 64}
    assert largest_micro_batch(large, VOCABULARY, GPU, **size) == 0
    assert largest_micro_batch(ModelConfig(), VOCABULARY, GPU, **size) == 64
    assert largest_micro_batch(large, VOCABULARY, setting(AWAY, **ON_GPU), **size) > 0


def test_what_is_offloaded_takes_the_memory_of_a_cpu() -> None:
    """On a GPU it does not, so more rows fit."""
    away = setting(AWAY, on_gpu=True, compile="always")
    size = {"device_bytes": 8 * 2**30, "most": 4096}
    on_gpu = largest_micro_batch(ModelConfig(), VOCABULARY, away, **size)
    on_cpu = largest_micro_batch(ModelConfig(), VOCABULARY, replace(away, on_gpu=False), **size)
    assert 0 < on_cpu < on_gpu
