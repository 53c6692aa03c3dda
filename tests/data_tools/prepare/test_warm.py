"""The warm-up of workers calls what they call, with the same types."""

from __future__ import annotations

from typing import Any

from data_tools.prepare.pack import take_documents
from data_tools.prepare.warm import warm_up
from data_tools.sources.csv_kernel import read_records
from data_tools.sources.utf8_kernel import find_invalid
from gpt2zh.text.kernels.utf8 import blank_documents, count_characters

from .conftest import Begin

KERNELS: tuple[Any, ...] = (
    read_records,
    find_invalid,
    blank_documents,
    count_characters,
    take_documents,
)


def test_no_compiled_function_is_loaded_after_the_warm_up(begin: Begin) -> None:
    work = begin(["从前有座山", "短", "短"])
    for kernel in KERNELS:
        kernel._reset_overloads()  # as in a new process
    warm_up()
    warm = [kernel.signatures for kernel in KERNELS]
    assert all(warm)
    work.draft().decide().pack()
    assert [kernel.signatures for kernel in KERNELS] == warm
