"""The stack of a rank, in a file that the other ranks can read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import wait_until

from gpt2zh.ranks.stacks import StackFile, format_main_stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "stacks"


@pytest.fixture
def mine(folder: Path) -> Iterator[StackFile]:
    file = StackFile(folder, rank=1)
    yield file
    file.cancel()
    file.remove()


def wait_for(file: StackFile, rank: int, *, part: str) -> None:
    """Return once the stack of a rank holds a text; it is written line by line."""
    wait_until(lambda: part in (file.read_other(rank) or ""), lambda: str(file.read_other(rank)))


def test_a_stack_is_written_unless_it_is_asked_for_later_again(
    mine: StackFile, folder: Path
) -> None:
    other = StackFile(folder, rank=0)
    assert not folder.exists() and other.read_other(1) is None
    mine.write_after(600)
    assert other.read_other(1) is None  # the file is there, and empty
    mine.write_after(0.01)
    wait_for(other, 1, part="in wait_for")
    assert [path.name for path in folder.iterdir()] == ["stack-of-rank-00001.txt"]


def test_nothing_is_written_after_a_cancel(mine: StackFile, folder: Path) -> None:
    mine.write_after(0.2)
    mine.cancel()
    time.sleep(0.4)
    assert StackFile(folder, rank=0).read_other(1) is None


def test_the_last_one_removes_the_folder(folder: Path) -> None:
    files = [StackFile(folder, rank=rank) for rank in range(2)]
    for file in files:
        file.write_after(600)
        file.cancel()
    files[0].remove()
    assert [path.name for path in folder.iterdir()] == ["stack-of-rank-00001.txt"]
    files[1].remove()
    assert not folder.exists() and folder.parent.is_dir()
    files[1].remove()  # nothing is left to remove


def test_a_folder_that_cannot_be_written_ends_nothing(mine: StackFile, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file, where the folder must be", "utf-8")
    mine.write_after(0.01)
    time.sleep(0.1)
    assert StackFile(folder, rank=0).read_other(1) is None
    mine.remove()
    assert folder.is_file()


def test_the_stack_is_that_of_the_main_thread_also_for_another_one() -> None:
    found: list[str] = []

    def in_another_thread() -> None:
        found.append(format_main_stack())

    thread = threading.Thread(target=in_another_thread)
    thread.start()
    thread.join()
    assert "in test_the_stack_is_that_of_the_main_thread" in found[0]
    assert "in in_another_thread" not in found[0]
