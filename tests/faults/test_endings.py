"""How ranks may end after a fault, and what a start must leave in the run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2zh.files import run_folder
from tests.faults.early import FILE
from tests.faults.endings import thrown_away, wrong_ending
from tests.faults.fault import Fault
from tests.faults.ranks import Ended

EARLY = Fault("kill -9", rank=0, in_writer=False, at=1, place="before joining")
ASKED = Fault("kill -9", rank=0, in_writer=False, at=1, place="before joining", then="SIGTERM")
FILES = Fault("kill -9", rank=0, in_writer=False, at=1, place=FILE)
STREAK = Fault("loss is NaN", rank=1, in_writer=False, at=1, steps=3)


@pytest.mark.parametrize(
    ("fault", "codes", "fits"),
    [
        (EARLY, [-9, 69], True),
        (EARLY, [-9, 0], False),
        (EARLY, [-9, 1], False),
        (EARLY, [-9, 143], False),
        (ASKED, [-9, 143], True),
        (ASKED, [-9, -15], True),
        (ASKED, [-9, 130], False),
        (FILES, [-9, 69], True),
        (FILES, [-9, 0], True),
        (FILES, [-9, 2], False),
        (STREAK, [65, 65], True),
        (STREAK, [0, 0], False),
        (None, [2, 143], False),
        (None, [0, 0], True),
    ],
)
def test_exit_codes_fit_the_fault(fault: Fault | None, codes: list[int], fits: bool) -> None:
    assert (wrong_ending(Ended(codes, 1.0, []), fault) is None) == fits


def test_ranks_that_had_to_be_killed_are_wrong_whatever_their_codes() -> None:
    told = wrong_ending(Ended([-9, -9], 15.0, [1]), EARLY)
    assert told is not None and "ranks [1] had to be killed" in told


def write_checkpoint(run: Path, name: str, *, bad_streak: int) -> Path:
    """A folder with a state and its manifest."""
    folder = run_folder.begin(run, 1)
    state = folder / run_folder.STATE
    state.write_text(json.dumps({"progress": {"bad_streak": bad_streak}}), "utf-8")
    run_folder.commit(folder, run / name, run_folder.make_entries([state]))
    return run / name


def test_a_complete_checkpoint_that_was_set_aside_is_trained_steps_thrown_away(
    tmp_path: Path,
) -> None:
    write_checkpoint(tmp_path, "checkpoint-3", bad_streak=0)
    assert thrown_away(tmp_path) is None
    folder = write_checkpoint(tmp_path, "superseded-checkpoint-6", bad_streak=0)
    told = thrown_away(tmp_path)
    assert told is not None and told.startswith("superseded-checkpoint-6 is complete")
    (folder / run_folder.STATE).write_text("{}", "utf-8")
    assert thrown_away(tmp_path) is None  # it was damaged


def test_a_checkpoint_within_a_streak_of_bad_steps_may_be_set_aside(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "superseded-checkpoint-6", bad_streak=2)
    assert thrown_away(tmp_path) is None
