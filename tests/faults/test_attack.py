"""The deck deals every kind of attack, the same ones for the same seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.faults.attack import KINDS, Attack, Deck
from tests.faults.early import FILE, MEETING
from tests.faults.output import FAILING, LOG

STEPS, STREAK = 14, 3


def dealt(seed: int, number: int, *, done: int = 5, only: str | None = None) -> list[Attack]:
    """So many draws for a run whose newest checkpoint is that of step `done`; no quiet ones."""
    deck = Deck(random.Random(seed), only)
    drawn = (deck.draw(ranks=2, steps=STEPS, done=done, bad_steps=STREAK) for _ in range(number))
    return [attack for attack in drawn if attack.kind != "none"]


def test_a_round_deals_each_kind_as_often_as_planned_and_each_one_soon() -> None:
    kinds = [attack.kind for attack in dealt(1, 2 * sum(KINDS.values()))]
    assert Counter(kinds) == {kind: 2 * times for kind, times in KINDS.items()}
    assert set(kinds[: len(KINDS)]) == set(KINDS)


def test_a_seed_names_its_attacks() -> None:
    assert dealt(3, 40) == dealt(3, 40) != dealt(4, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_an_attack_is_what_its_kind_says(kind: str) -> None:
    attacks = dealt(5, 60, only=kind)
    assert {attack.kind for attack in attacks} == {kind}
    places = {attack.fault.place for attack in attacks if attack.fault}
    assert places == {"file": {FILE}, "group": set(MEETING)}.get(kind, {""})
    outputs = {attack.output for attack in attacks}
    assert outputs == (set(FAILING) if kind == "output" else {LOG})
    twice = kind in ("second start", "skewed clock")
    assert all((attack.second is not None) == twice for attack in attacks)
    assert all((attack.hours is not None) == (kind == "skewed clock") for attack in attacks)
    if kind == "skewed clock":
        assert {attack.hours > 0 for attack in attacks if attack.hours} == {True, False}


@pytest.mark.parametrize("done", [0, 5, 11])
def test_a_streak_of_bad_steps_ends_before_the_run(done: int) -> None:
    for attack in dealt(6, 100, done=done, only="bad steps"):
        assert attack.fault is not None and attack.fault.steps == STREAK
        assert done + attack.fault.at + STREAK - 1 <= STEPS


def test_a_streak_that_no_longer_fits_waits_for_another_run() -> None:
    deck = Deck(random.Random(7))
    few = [deck.draw(ranks=2, steps=STEPS, done=12, bad_steps=STREAK).kind for _ in range(22)]
    assert "bad steps" not in few
    assert deck.draw(ranks=2, steps=STEPS, done=0, bad_steps=STREAK).kind == "bad steps"


def test_foreign_files_wait_for_a_checkpoint() -> None:
    deck = Deck(random.Random(8))
    first = [deck.draw(ranks=2, steps=STEPS, done=0, bad_steps=STREAK).kind for _ in range(22)]
    assert "foreign files" not in first
    assert deck.draw(ranks=2, steps=STEPS, done=3, bad_steps=STREAK).kind == "foreign files"
