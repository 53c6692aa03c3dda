"""What a step sends by arithmetic, against the collectives of real ranks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from counted_steps import SHAPE, Case, Sent, counted

from gpt2zh.cost.traffic import Traffic, count_traffic
from gpt2zh.model import shape
from gpt2zh.text.tokenizer import load_tokenizer

pytestmark = pytest.mark.ranks

SMALL_BUCKETS = {"overlap_comm": True, "reduce_bucket_size": 9000}
# Small enough that weights are let go between their uses, and too small to hold all of them.
LIMITS = {
    "stage3_param_persistence_threshold": 100,
    "stage3_prefetch_bucket_size": 3000,
    "stage3_max_live_parameters": 12000,
    "stage3_max_reuse_distance": 8000,
}
NOTHING_AHEAD = {
    "stage3_param_persistence_threshold": 100,
    "stage3_prefetch_bucket_size": 0,
    "stage3_max_reuse_distance": 8000,
}
TWO = {
    "0 in fp32": Case(0, "fp32", 3),
    "0 in bf16": Case(0, "bf16", 1),
    "1 in fp32": Case(1, "fp32", 3),
    "1 in bf16": Case(1, "bf16", 3),
    "1 in bf16, summed in bf16": Case(1, "bf16", 3, SMALL_BUCKETS, sums="bfloat16"),
    "1 in fp16": Case(1, "fp16", 3),
    "1 in fp32, overlapped": Case(1, "fp32", 3, SMALL_BUCKETS),
    "1 in fp32, buckets": Case(1, "fp32", 1, {"reduce_bucket_size": 9000}),
    "1 with muon": Case(1, "bf16", 1, kind="muon"),
    "2 in fp32": Case(2, "fp32", 3),
    "2 in bf16": Case(2, "bf16", 3, SMALL_BUCKETS),
    "3 in fp32": Case(3, "fp32", 1),
    "3 in bf16": Case(3, "bf16", 3, {"stage3_param_persistence_threshold": 100}),
    "3, little kept": Case(3, "bf16", 1, LIMITS),
    "3, little kept, recomputed": Case(3, "bf16", 3, LIMITS, recompute=True),
    "3, nothing ahead": Case(3, "bf16", 1, NOTHING_AHEAD | {"reduce_scatter": False}),
}
FOUR = {
    "1 in bf16": Case(1, "bf16", 1),
    "2 in bf16": Case(2, "bf16", 3, SMALL_BUCKETS),
    "3 in bf16": Case(3, "bf16", 3, {"stage3_param_persistence_threshold": 100}),
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT vocab.txt so small that the embedding is no larger than a block."""
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    characters = [chr(0x4E00 + number) for number in range(100)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    path.write_text("\n".join(words) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def sent(
    tmp_path_factory: pytest.TempPathFactory, vocabulary: Path
) -> dict[tuple[int, str], list[Sent]]:
    """What the ranks sent in a step, by their number and the name of the case."""
    found = {}
    for ranks, cases in ((2, TWO), (4, FOUR)):
        folder = tmp_path_factory.mktemp(f"ranks-{ranks}")
        steps = counted(list(cases.values()), ranks, vocabulary, folder)
        found |= {(ranks, name): step for name, step in zip(cases, steps, strict=True)}
    return found


def predicted(case: Case, ranks: int, vocabulary: Path) -> Traffic:
    return count_traffic(
        SHAPE,
        shape.padded_vocabulary(load_tokenizer(vocabulary).vocab_size),
        case.setting(ranks),
    )


@pytest.mark.parametrize(
    ("ranks", "name"), [(ranks, name) for ranks, names in ((2, TWO), (4, FOUR)) for name in names]
)
def test_every_collective_of_a_step_is_predicted(
    ranks: int, name: str, sent: dict[tuple[int, str], list[Sent]], vocabulary: Path
) -> None:
    case = {2: TWO, 4: FOUR}[ranks][name]
    expected = predicted(case, ranks, vocabulary).step
    assert sent[ranks, name]
    assert Counter(sent[ranks, name]) == Counter((t.kind, t.elements, t.width) for t in expected)
