"""A rank that dies, hangs or falls silent ends all ranks soon, and the message says where it was.

Real processes with torch's real store. What waits 30 s in earnest waits 5 s here.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from patience import LIMIT

from gpt2zh.ranks.standing import Board
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parents[1] / "workers" / "watched.py"
LOST, HUNG = 69, 70
PHASE = "while computing micro-batch 1 of 1 (step 3)"


def case(
    fault: str, *faulty: int, ranks: int = 2, in_step: bool = False, hang_after: float = 3.0
) -> dict:
    """A run in whose step 3 some ranks have a fault; the others wait behind the step or in it."""
    return {
        "fault": fault,
        "faulty": faulty,
        "ranks": ranks,
        "in_step": in_step,
        "hang_after": hang_after,
    }


CASES = {
    "nothing": case("nothing"),
    "killed": case("killed", 1, hang_after=20),
    "first killed": case("killed", 0, hang_after=20),
    "two killed": case("killed", 1, 2, ranks=3, hang_after=20),
    "stopped": case("stopped", 1, hang_after=0),
    "first stopped": case("stopped", 0, hang_after=0),
    "hangs": case("hangs", 1),
    "first hangs": case("hangs", 0),
    "hangs of three": case("hangs", 1, ranks=3),
    "hangs in the collective": case("hangs", 1, in_step=True),
    "hangs, no watch": case("hangs", 1, hang_after=0),
    "deaf": case("deaf", 1, hang_after=20),
    "slow": case("slow", 1),
    "writing": case("writing", 1),
    "no thread": case("no thread", 1, hang_after=20),
    "all stopped": case("all stopped", 0, hang_after=4),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What became of the ranks of every case."""
    folder = tmp_path_factory.mktemp("watched")
    cases = [
        {"folder": str(folder / name / "stacks"), **kind, "faulty": list(kind["faulty"])}
        for name, kind in CASES.items()
    ]
    done = subprocess.run(
        [sys.executable, str(WORKER), json.dumps(cases)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True))


def codes(ranks: list[dict]) -> list[int | None]:
    return [rank["code"] for rank in ranks]


def errors(ranks: list[dict]) -> list[str]:
    """All lines with an error that any rank has printed."""
    return [line for rank in ranks for line in rank["output"].splitlines() if "error:" in line]


def test_ranks_without_a_fault_end_in_silence_and_leave_no_files(
    told: dict[str, list[dict]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert codes(told["nothing"]) == [0, 0]
    assert [rank["output"] for rank in told["nothing"]] == ["", ""]
    assert not list(tmp_path_factory.getbasetemp().glob("watched*/nothing/stacks"))


@pytest.mark.parametrize(
    ("name", "blamed", "left"),
    [
        ("killed", 1, {0}),
        ("first killed", 0, {1}),
        ("two killed", 1, {0}),
        ("stopped", 1, {0}),
        ("first stopped", 0, {1}),
    ],
)
def test_a_rank_that_is_gone_ends_the_others_and_is_named(
    told: dict[str, list[dict]], name: str, blamed: int, left: set[int]
) -> None:
    ranks = told[name]
    assert {number for number, code in enumerate(codes(ranks)) if code == LOST} == left
    for number in left:
        assert ranks[number]["seconds"] < 12
        if name == "stopped":
            assert "No stack available: the process is stopped" in ranks[number]["output"]
    expected = f"error: rank {blamed} on {platform.node()} died {PHASE}; its last progress was "
    assert [line for line in errors(ranks) if line.startswith(expected)]
    assert "Start again to continue from the last checkpoint" in errors(ranks)[0]


def test_every_rank_that_died_is_named(told: dict[str, list[dict]]) -> None:
    assert [line.split(" on ")[0] for line in errors(told["two killed"])] == [
        "error: rank 1",
        "error: rank 2",
    ]


@pytest.mark.parametrize(
    ("name", "blamed", "teller"),
    [("hangs", 1, 0), ("first hangs", 0, 1), ("hangs of three", 1, 0)],
)
def test_a_rank_that_hangs_ends_all_and_its_stack_is_told_once(
    told: dict[str, list[dict]], name: str, blamed: int, teller: int
) -> None:
    ranks = told[name]
    assert codes(ranks) == [HUNG] * len(ranks)
    assert max(rank["seconds"] for rank in ranks) < 8
    (error,) = errors(ranks)
    assert error.startswith(f"error: rank {blamed} on {platform.node()} hangs {PHASE}")
    assert error in ranks[teller]["output"]
    stack = ranks[teller]["output"].partition(error)[2]
    assert "stuck_for_ever" in stack and "in strike" in stack and "watched.py" in stack


def test_where_all_wait_at_one_place_every_stack_is_told(told: dict[str, list[dict]]) -> None:
    ranks = told["hangs in the collective"]
    assert codes(ranks) == [HUNG, HUNG]
    assert [line.split(" on ")[0] for line in errors(ranks)] == ["error: rank 0", "error: rank 1"]
    first, second = ranks[0]["output"].split("error: rank 1")
    assert "in meet" in first and "stuck_for_ever" not in first
    assert "stuck_for_ever" in second


def test_a_rank_that_holds_pythons_lock_tells_its_stack_all_the_same(
    told: dict[str, list[dict]],
) -> None:
    """No thread of Python runs there: not the one that would tell anything either."""
    ranks = told["deaf"]
    assert codes(ranks)[0] == LOST and ranks[0]["seconds"] < 12
    assert f"rank 1 on {platform.node()} died {PHASE}" in errors(ranks)[0]
    assert "in deaf_for_ever" in ranks[0]["output"]


def test_without_a_limit_a_rank_may_stand_still_for_ever(told: dict[str, list[dict]]) -> None:
    assert codes(told["hangs, no watch"]) == [None, None]  # killed at the end of the test
    assert errors(told["hangs, no watch"]) == []


def test_a_thread_that_writes_is_progress_and_mere_sleep_is_none(
    told: dict[str, list[dict]],
) -> None:
    assert codes(told["slow"]) == [HUNG, HUNG]
    assert codes(told["writing"]) == [0, 0] and errors(told["writing"]) == []


def test_a_watch_that_gets_no_thread_for_the_stack_blames_nobody(
    told: dict[str, list[dict]],
) -> None:
    assert codes(told["no thread"]) == [0, 0] and errors(told["no thread"]) == []


def test_ranks_that_were_all_stopped_go_on_when_they_are_continued(
    told: dict[str, list[dict]],
) -> None:
    """Ctrl-Z and `fg`, or a scheduler that suspends a job, for longer than any patience."""
    ranks = told["all stopped"]
    assert codes(ranks) == [0, 0], ranks
    assert errors(ranks) == []


class Memory:
    """A store without any other rank."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value

    def get(self, key: str) -> bytes:
        return self.values[key].encode()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.get(key) for key in keys]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)


class Gone(Memory):
    """The store of a rank 0 that has ended."""

    def check(self, keys: list[str]) -> bool:
        raise RuntimeError("Connection reset by peer")


class Stopping(Memory):
    """A store in whose answer to rank 0 all processes are stopped for a while, once."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.stopped = threading.Event()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        found = super().multi_get(keys)
        if not self.stopped.is_set():
            self.stopped.set()
            time.sleep(self._seconds)
        return found


class Impatient(Watch):
    beat, silence, short_silence = 0.05, 60.0, 0.3


def watch_of(rank: int, tmp_path: Path) -> Impatient:
    return Impatient(World(rank, 2), folder=tmp_path / "stacks", hang_after=60)


def test_the_reason_of_a_crash_reaches_the_others(tmp_path: Path) -> None:
    store = Memory()
    crashing, other = watch_of(1, tmp_path), watch_of(0, tmp_path)
    other.start(store)
    crashing.start(store)
    crashing.mark("loading")
    crashing.report_crash(KeyError("wte"))
    found = other.explain_lost_rank(wait=LIMIT)
    crashing.stop()
    other.stop()
    assert found == "rank 1 crashed: KeyError: 'wte' (while loading)"


def test_after_a_failed_collective_a_silent_rank_is_named_soon(tmp_path: Path) -> None:
    store = Memory()
    silent, other = watch_of(1, tmp_path), watch_of(0, tmp_path)
    silent.step = 8
    silent.mark("validating batch 2")
    silent.start(store)
    other.start(store)
    time.sleep(0.3)
    silent.stop()
    found = other.explain_lost_rank(wait=LIMIT)
    other.stop()
    expected = f"rank 1 on {platform.node()} died while validating batch 2 (step 8)"
    assert found == expected


def test_after_a_failed_collective_all_may_be_alive(tmp_path: Path) -> None:
    """Then the fault is another: a collective that was called wrongly, say."""
    store = Memory()
    one, other = watch_of(1, tmp_path), watch_of(0, tmp_path)
    one.start(store)
    other.start(store)
    found = other.explain_lost_rank(wait=1)
    one.stop()
    other.stop()
    assert found is None


def test_after_a_failed_collective_the_store_may_be_gone(tmp_path: Path) -> None:
    watch = watch_of(1, tmp_path)
    watch._board = Board(Gone(), World(1, 2))
    assert watch.explain_lost_rank(wait=1) == "rank 0 died while starting (step 0)"
    watch.report_crash(KeyError("wte"))  # nobody hears it, and nothing is raised


def test_a_rank_alone_asks_nobody(tmp_path: Path) -> None:
    alone = Impatient(World(), folder=tmp_path, hang_after=0)
    assert alone.explain_lost_rank(wait=1) is None
    alone.start(Memory())
    assert alone.explain_lost_rank(wait=1) is None
    alone.stop()


def test_a_stop_while_the_store_is_asked_is_no_silence_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-Z does not wait until the watch sleeps."""
    ended: list[int] = []
    monkeypatch.setattr("gpt2zh.ranks.watch.os._exit", ended.append)
    monkeypatch.setattr(Impatient, "silence", 3.0)
    store = Stopping(seconds=3.5)
    mine = watch_of(0, tmp_path)
    others = Board(store, World(1, 2))

    def publish() -> None:
        others.publish(phase="starting", step=0, marks=0, notes=0)

    publish()
    monkeypatch.setattr(mine, "_guard", lambda board: None)  # it would be stopped, too
    mine.start(store)
    store.stopped.wait(LIMIT)
    looks = mine._board.read_all
    seen = threading.Event()

    def look() -> None:  # the first look after the stop comes before any sign of life
        looks()
        seen.set()

    mine._board.read_all = look
    assert seen.wait(LIMIT)
    for _ in range(10):
        publish()
        time.sleep(0.05)
    mine.stop()
    assert ended == []
