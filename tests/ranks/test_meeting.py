"""Ranks meet, or say who is missing; nobody waits deaf, and nobody joins another run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forked_ranks
import pytest
import torch.distributed as dist
from patience import wait_until

from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks import meeting
from gpt2zh.ranks.meeting import meet
from gpt2zh.ranks.port import free_port
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.world import World

pytestmark = pytest.mark.ranks


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "SAY", 0.2)
    monkeypatch.setattr(meeting, "BEAT", 0.05)
    monkeypatch.setattr(meeting, "SILENCE", 1.0)


class Starts:
    """Ranks of one or several runs, as forks, and what each has printed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = str(free_port())
        self._children: list[int] = []

    def go(
        self, rank: int, size: int, run: str = "a", then: Callable[[], None] = lambda: None
    ) -> int:
        """Start a rank that meets the others and then does something."""

        def work(_: int) -> None:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._port}
            StopRequest().install()
            try:
                store = meet(World(rank, size, rank, size), run=run)
                print("met", flush=True)
                then()
                del store
            except UserError as error:
                print(f"refused: {error}", flush=True)
                raise SystemExit(Exit.REFUSED) from None
            except RunError as error:
                print(f"error: {error}", flush=True)
                raise SystemExit(error.code) from None

        child = forked_ranks.fork(self.log(len(self._children)), work, rank)
        self._children.append(child)
        return child

    def log(self, number: int) -> Path:
        return self._folder / f"{number}.log"

    def text(self, number: int) -> str:
        path = self.log(number)
        return path.read_text("utf-8") if path.exists() else ""

    def wait_for(self, number: int, words: str) -> str:
        wait_until(
            lambda: words in self.text(number), lambda: f"{words!r} not in {self.text(number)!r}"
        )
        return self.text(number)

    def code(self, number: int) -> int:
        child, self._children[number] = self._children[number], 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def end(self) -> None:
        for child in filter(None, self._children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Starts]:
    made = Starts(tmp_path)
    with contextlib.ExitStack() as after:
        after.callback(made.end)
        yield made


def test_all_ranks_meet_in_any_order(starts: Starts, quick: None) -> None:
    for rank in (2, 1, 0):
        starts.go(rank, 3, then=lambda: time.sleep(0.5))
    assert [starts.code(number) for number in range(3)] == [0, 0, 0]
    assert "met" in starts.text(0)


def test_the_store_can_be_used_by_torch_afterwards(starts: Starts) -> None:
    def go(rank: int) -> None:
        def then() -> None:
            os.environ |= World(rank, 2, rank, 2).variables()
            dist.init_process_group("gloo", init_method="env://")
            dist.barrier()
            dist.destroy_process_group()

        starts.go(rank, 2, then=then)

    go(0)
    go(1)
    assert [starts.code(0), starts.code(1)] == [0, 0], starts.text(0) + starts.text(1)


def test_rank_0_says_who_is_missing_and_ends_at_a_signal(starts: Starts, quick: None) -> None:
    child = starts.go(0, 4)
    text = starts.wait_for(0, "waiting for 3 of 4 ranks: 1, 2, 3 (")
    assert "rank 0 on" in text and "127.0.0.1:" in text
    os.kill(child, signal.SIGTERM)
    assert starts.code(0) == 128 + signal.SIGTERM


def test_a_rank_says_that_rank_0_is_missing_and_ends_at_a_signal(
    starts: Starts, quick: None
) -> None:
    child = starts.go(1, 2)
    starts.wait_for(0, "waiting for 1 of 2 ranks: 0 (")
    os.kill(child, signal.SIGINT)
    assert starts.code(0) == 128 + signal.SIGINT


def test_a_rank_that_dies_while_others_are_missing_ends_those_that_wait(
    starts: Starts, quick: None
) -> None:
    starts.go(0, 3)
    second = starts.go(1, 3)
    starts.wait_for(0, "waiting for 1 of 3 ranks: 2 (")
    os.kill(second, signal.SIGKILL)
    starts.code(1)
    assert starts.code(0) == Exit.LOST_RANK
    assert "rank 1 on" in starts.text(0) and "died while the ranks met" in starts.text(0)


def test_the_end_of_rank_0_ends_those_that_wait(starts: Starts, quick: None) -> None:
    first = starts.go(0, 3)
    starts.go(1, 3)
    starts.wait_for(0, "waiting for 1 of 3 ranks: 2 (")
    os.kill(first, signal.SIGKILL)
    starts.code(0)
    assert starts.code(1) == Exit.LOST_RANK
    assert "rank 0 at 127.0.0.1:" in starts.text(1)


def test_ranks_that_never_come_end_the_start(
    starts: Starts, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "LIMIT", 0.1)
    starts.go(0, 2)
    assert starts.code(0) == Exit.LOST_RANK
    assert "ranks 1 did not come to 127.0.0.1:" in starts.text(0)


def test_a_rank_of_another_run_is_refused_and_the_run_waits_for_its_own(
    starts: Starts, quick: None
) -> None:
    starts.go(0, 2, run="lr 0.01", then=lambda: time.sleep(1))
    starts.go(1, 2, run="lr 0.001")
    assert starts.code(1) == Exit.REFUSED
    assert "rank 1 found another run at 127.0.0.1:" in starts.text(1)
    assert "--master_port" in starts.text(1)
    starts.go(1, 2, run="lr 0.01")
    assert starts.code(0) == 0 and starts.code(2) == 0


def test_the_same_rank_twice_is_refused(starts: Starts, quick: None) -> None:
    starts.go(0, 3)
    starts.go(1, 3)
    starts.wait_for(0, "waiting for 1 of 3 ranks: 2 (")
    starts.go(1, 3)
    assert starts.code(2) == Exit.REFUSED
    assert "rank 1 has joined already" in starts.text(2)


def test_a_port_that_is_taken_meanwhile_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(UserError, match=f"port {port}, where the ranks should meet"):
            meet(World(0, 2, 0, 2))


def test_the_ranks_of_a_restart_do_not_see_what_those_before_it_left(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """The store of torchrun outlives its workers."""
    port = free_port()
    served = dist.TCPStore("127.0.0.1", port, None, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    for attempt in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
        with ThreadPoolExecutor(2) as pool:
            ranks = [pool.submit(meet, World(rank, 2, rank, 2), run="a") for rank in (0, 1)]
            assert all(rank.result() for rank in ranks)
    del served


def test_a_long_list_of_missing_ranks_is_shortened() -> None:
    assert meeting._listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"
    assert meeting._listed([3]) == "3"
