"""Numbers for readers: no text is rounded to a false unit, to all, or to nothing."""

from __future__ import annotations

import math

import pytest

from gpt2zh.pages.numbers import (
    approximate,
    axis_number,
    count,
    duration,
    memory,
    percent,
    plural,
    ratio,
    share,
    size,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "<0.1 s"),
        (0.05, "0.1 s"),
        (0.5, "0.5 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (190, "3 min 10 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (3600, "1 h 0 min"),
        (18420, "5 h 7 min"),
        (86369, "23 h 59 min"),
        (86399.9, "1 d 0 h"),
        (183600, "2 d 3 h"),
        (172799, "2 d 0 h"),
        (400 * 86400, "400 d 0 h"),
        (-65, "-1 min 5 s"),
        (-0.5, "-0.5 s"),
        (-0.0, "0 s"),
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1000, "1.00 kB"),
        (1500, "1.50 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.00 MB"),
        (142_910_281, "142.9 MB"),
        (10**9, "1.00 GB"),
        (3 * 10**12, "3.00 TB"),
        (5 * 10**18, "5000.0 PB"),
        (-1500, "-1.50 kB"),
        (-0.4, "0 B"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_sizes(number: float | None, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1023.6, "1.00 KiB"),
        (2**20 - 1, "1.00 MiB"),
        (2**30 - 2**10, "1.00 GiB"),
        (1.5 * 2**30, "1.50 GiB"),
        (24 * 2**30, "24.0 GiB"),
        (-(2**30), "-1.00 GiB"),
        (None, "-"),
    ],
)
def test_memory(number: float | None, text: str) -> None:
    assert memory(number) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0, "0 %"),
        (1e-9, "<0.001 %"),
        (0.00012, "0.012 %"),
        (0.0009996, "0.10 %"),
        (0.00123, "0.12 %"),
        (0.00994, "0.99 %"),
        (0.009996, "1.0 %"),
        (0.01, "1.0 %"),
        (0.6667, "66.7 %"),
        (0.999, "99.9 %"),
        (0.9999999, ">99.9 %"),
        (1, "100 %"),
        (1.5, "150.0 %"),
        (-0.123, "-12.3 %"),
        (-1e-9, ">-0.001 %"),
        (-0.99999, "<-99.9 %"),
        (-1, "-100 %"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_percents(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (12.4, "12"),
        (9_999, "9,999"),
        (9_999.6, "10,000"),
        (12_345, "12,300"),
        (999_400, "999,000"),
        (999_600, "1 million"),
        (1_234_567, "1.23 million"),
        (999_600_000, "1 billion"),
        (2.5e12, "2.5 trillion"),
        (1.5e15, "1,500 trillion"),
        (-1_234_567, "-1.23 million"),
        (None, "-"),
        (math.inf, "-"),
    ],
)
def test_approximate_numbers(number: float | None, text: str) -> None:
    assert approximate(number) == text


def test_counts_are_exact() -> None:
    assert [count(0), count(1234567), count(-1000), count(None)] == [
        "0",
        "1,234,567",
        "-1,000",
        "-",
    ]


def test_shares_are_never_rounded_to_all_or_nothing() -> None:
    assert share(10**9, 10**9) == "100.00" and share(10**9 - 1, 10**9) == ">99.99"
    assert share(0, 10**9) == "0.00" and share(1, 10**9) == "<0.01"
    assert share(1, 3) == "33.33" and share(0, 0) == "-"


def test_a_ratio_to_nothing_is_not_known() -> None:
    assert ratio(1, 3) == "0.333" and ratio(0, 0) == "-"


def test_numbers_on_an_axis_are_exact_and_short() -> None:
    numbers = [0, 2048, 999_999, 1_000_000, 2_500_000, 2_500_001, 20_000_000, 10**9]
    texts = ["0", "2,048", "999,999", "1 M", "2.5 M", "2,500,001", "20 M", "1 B"]
    assert list(map(axis_number, numbers)) == texts


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1234, "1,234 steps")],
)
def test_a_noun_agrees_with_its_number(number: int, text: str) -> None:
    assert plural(number, "step") == text


def test_a_noun_may_have_its_own_plural_and_a_number_its_own_form() -> None:
    assert plural(1, "copy", "copies") == "1 copy" and plural(0, "copy", "copies") == "0 copies"
    assert plural(12345, "row", show=str) == "12345 rows"
    assert plural(12_300_000, "row", show=approximate) == "12.3 million rows"
