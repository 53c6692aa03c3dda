"""The progress of a run: what counts, and that it survives JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from gpt2zh.data import chain
from gpt2zh.train.state import TrainState


def test_a_step_counts_its_rows_and_tokens_and_lengthens_the_chain() -> None:
    state = TrainState()
    state.advance(np.array([4, 2, 9]), tokens=96)
    state.advance(np.array([1, 0, 4]), tokens=96)
    expected = chain.extend(chain.extend(chain.START, np.array([4, 2, 9])), np.array([1, 0, 4]))
    assert (state.step, state.rows, state.tokens, state.chain) == (2, 6, 192, expected)


def test_a_step_without_an_update_counts_too_and_its_record_stays() -> None:
    """Its rows are not read again, and it has used up its learning rate."""
    state = TrainState(bad_streak=1, incidents=[{"step": 1, "fault": "loss"}])
    state.advance(np.array([4]), tokens=32)
    assert (state.step, state.bad_streak, len(state.incidents)) == (1, 1, 1)


def test_it_comes_back_from_a_checkpoint_as_it_was() -> None:
    state = TrainState(bad_streak=2, incidents=[{"rows": [1]}], recent=[0.1, 1 / 3])
    state.advance(np.array([4, 2]), tokens=64)
    again = TrainState(**json.loads(json.dumps(asdict(state))))
    assert again == state
    for one in (state, again):
        one.advance(np.array([7, 7]), tokens=64)
    assert again == state


def test_two_states_share_no_lists() -> None:
    one, other = TrainState(), TrainState()
    one.recent.append(1.0)
    one.incidents.append({})
    assert other.recent == [] and other.incidents == []


def test_the_progress_of_an_older_checkpoint_is_read() -> None:
    """They knew neither a chain nor bad steps."""
    state = TrainState(step=5, rows=40, tokens=1280)
    assert state.chain == chain.START and state.bad_streak == 0


def test_the_state_before_a_streak_is_kept_until_a_good_step() -> None:
    state = TrainState(step=4, rows=32, recent=[0.5])
    whole = state.record
    assert "before_streak" not in whole  # as older versions wrote it
    state.begin_streak()
    state.bad_streak = 1
    state.recent.append(0.7)
    state.advance(np.arange(8), tokens=64)
    saved = TrainState(**json.loads(json.dumps(state.record)))
    assert saved == state and saved.before_streak is not None
    assert TrainState(**saved.before_streak) == TrainState(**whole)
    saved.end_streak()
    assert saved.record.keys() == whole.keys() and saved.bad_streak == 0
