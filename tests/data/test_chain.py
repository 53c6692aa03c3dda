"""The hash chain of row numbers: the order counts, the cut into ranks and starts does not."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from gpt2zh.data import chain


def chain_of(*steps: list[int], start: str = chain.START) -> str:
    for numbers in steps:
        start = chain.extend(start, np.array(numbers))
    return start


def test_a_step_is_the_sha256_of_the_hash_before_and_the_numbers_as_64_bits() -> None:
    """The definition, written once more with other means: whoever has the data can check it."""
    first = hashlib.sha256(bytes(32) + struct.pack("<3Q", 7, 0, 2**40)).hexdigest()
    second = hashlib.sha256(bytes.fromhex(first) + struct.pack("<Q", 1)).hexdigest()
    assert chain_of([7, 0, 2**40]) == first
    assert chain_of([7, 0, 2**40], [1]) == second


def test_it_goes_on_where_it_stopped() -> None:
    assert chain_of([3], start=chain_of([1], [2])) == chain_of([1], [2], [3])


@pytest.mark.parametrize(
    "steps",
    [
        ([2, 1], [3, 4]),  # another order in a step
        ([3, 4], [1, 2]),  # another order of steps
        ([1], [2, 3, 4]),  # cut at another place
        ([1, 2, 3, 4],),
        ([1, 2],),  # one missing
        ([1, 2], [3, 4], []),
        ([1, 2], [3, 5]),
        ([1, 2], [3, 4], [5]),
    ],
)
def test_any_other_walk_gives_another_chain(steps: tuple[list[int], ...]) -> None:
    assert chain_of(*steps) != chain_of([1, 2], [3, 4])


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32, ">i8"])
def test_the_type_of_the_numbers_does_not_matter(kind: object) -> None:
    numbers = np.arange(10)
    assert chain.extend(chain.START, numbers.astype(kind)) == chain_of(numbers.tolist())
    assert chain.extend(chain.START, np.repeat(numbers, 2)[::2]) == chain_of(numbers.tolist())
