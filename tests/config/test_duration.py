"""Periods in steps, in time, or both."""

from __future__ import annotations

import pytest

from gpt2zh.config.duration import Duration


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("1000", 1000, 0),
        (1000, 1000, 0),
        ("1000steps", 1000, 0),
        ("1step", 1, 0),
        (" 20 Steps ", 20, 0),
        ("30s", 0, 30),
        ("45sec", 0, 45),
        ("10min", 0, 600),
        ("1.5h", 0, 5400),
        ("1000steps,10min", 1000, 600),
        ("1h, 500", 500, 3600),
        ("never", 0, 0),
        ("0", 0, 0),
        (0, 0, 0),
    ],
)
def test_every_form_is_read(text: object, steps: int, seconds: float) -> None:
    found = Duration.parse(text)
    assert (found.steps, found.seconds) == (steps, seconds)
    assert bool(found) == bool(steps or seconds)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("soon", "1000steps,10min or never"),
        ("", "1000steps,10min or never"),
        ("5steps,", "1000steps,10min or never"),
        ("-5", "1000steps,10min or never"),
        ("5 days", "1000steps,10min or never"),
        ("1.6", "2steps"),
        ("2.5steps", "steps must be an integer"),
        ("0.4steps", "write 1steps"),  # 0 would be never
    ],
)
def test_another_form_is_refused_with_the_value_and_the_known_ones(text: str, told: str) -> None:
    with pytest.raises(
        ValueError, match=r"is not a valid period|steps must be an integer"
    ) as caught:
        Duration.parse(text)
    assert f"'{text}'" in str(caught.value) and told in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("1steps", "1000000steps", "30s", "0.25s", "10min", "1.5h", "24h", "277.5h", "never"),
        *("300h", "1234567s", "1000steps,10min", "5,400h"),
    ],
)
def test_what_is_written_reads_back_equal(text: str) -> None:
    found = Duration.parse(text)
    again = Duration.parse(str(found))
    assert (again.steps, again.seconds) == (found.steps, found.seconds)
    assert again == found and hash(again) == hash(found)


def test_different_periods_differ() -> None:
    texts = ("never", "1s", "1", "60s", "60", "60,60s", "2min", "2h")
    assert len({Duration.parse(text) for text in texts}) == len(texts)
    assert Duration.parse("60s") == Duration.parse("1min")
    assert Duration.parse("60s") != "60s"


@pytest.mark.parametrize(
    ("text", "step", "seconds", "due"),
    [
        ("10", 10, 0, True),
        ("10", 11, 1e9, False),
        ("10", 20, 0, True),
        ("10min", 7, 599.9, False),
        ("10min", 7, 600.0, True),
        ("10,10min", 10, 0, True),
        ("10,10min", 7, 600.0, True),
        ("10,10min", 7, 599.9, False),
        ("never", 0, 1e9, False),
        ("never", 1000, 1e9, False),
    ],
)
def test_due_at_multiples_of_steps_or_once_the_time_is_over(
    text: str, step: int, seconds: float, due: bool
) -> None:
    assert Duration.parse(text).is_due(step=step, seconds=seconds) is due


@pytest.mark.parametrize(
    ("text", "step", "seconds", "over"),
    [
        ("10", 9, 1e9, False),
        ("10", 10, 0, True),
        ("10", 11, 0, True),
        ("10min", 10**9, 599.9, False),
        ("10min", 0, 600.0, True),
        ("10,10min", 11, 0, True),
        ("10,10min", 9, 600.0, True),
        ("10,10min", 9, 599.9, False),
        ("never", 10**9, 1e9, False),
    ],
)
def test_over_once_either_length_has_passed(
    text: str, step: int, seconds: float, over: bool
) -> None:
    assert Duration.parse(text).is_over(step=step, seconds=seconds) is over
