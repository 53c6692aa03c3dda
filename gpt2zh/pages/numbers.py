"""Numbers as text for readers: counts, sizes, durations and percents.

A unit is chosen after rounding, so no text says `60 s`, `1000.0 kB` or `1024.0 MiB`. A value that
is not known (None, NaN, infinity) is shown as `-`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

UNKNOWN = "-"

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
_AXIS = ((10**9, "B"), (10**6, "M"))


def count(number: int | None) -> str:
    """Return a whole number, exact, with a comma after each three digits: `1,234,567`."""
    return UNKNOWN if number is None else f"{number:,}"


def plural(
    number: int, noun: str, many: str | None = None, *, show: Callable[[int], str] | None = None
) -> str:
    """Return a whole number with its noun: `1 step`, `1,234 steps`, `2 copies`.

    Args:
        number: How many.
        noun: For one.
        many: For several; by default the noun with an s.
        show: Makes a text of the number; by default with a comma after each three digits.
    """
    return f"{(show or count)(number)} {noun if number == 1 else many or noun + 's'}"


def approximate(number: float | None) -> str:
    """Return a number with three digits that matter: `1,235`, `12,300`, `1.23 million`."""
    if number is None or not isfinite(number):
        return UNKNOWN
    if abs(number) < 9_999.5:
        return f"{round(number):,}"
    rounded = float(f"{number:.3g}")
    for unit, name in _LARGE:
        value = rounded / unit
        if abs(value) >= 1:
            return f"{value:.3g} {name}" if abs(value) < 1000 else f"{value:,.0f} {name}"
    return f"{rounded:,.0f}"


def size(number: float | None) -> str:
    """Return bytes of files and traffic, in powers of 1000: `999 B`, `1.50 kB`, `142.9 MB`."""
    return _in_units(number, _DECIMAL, 1000)


def memory(number: float | None) -> str:
    """Return bytes of memory and what is compared with it, in powers of 1024: `1.50 GiB`."""
    return _in_units(number, _BINARY, 1024)


def duration(seconds: float | None) -> str:
    """Return a time in at most two units: `0.5 s`, `42 s`, `3 min 10 s`, `5 h 7 min`, `2 d 3 h`."""
    if seconds is None or not isfinite(seconds):
        return UNKNOWN
    sign, seconds = "-" if seconds <= -0.05 else "", abs(seconds)
    if seconds < 0.05:
        return "<0.1 s" if seconds else "0 s"
    if seconds < 9.95:
        return f"{sign}{seconds:.1f} s"
    whole, minutes, hours = round(seconds), round(seconds / 60), round(seconds / 3600)
    if whole < 60:
        return f"{sign}{whole} s"
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60} s"
    if minutes < 24 * 60:
        return f"{sign}{minutes // 60} h {minutes % 60} min"
    return f"{sign}{hours // 24} d {hours % 24} h"


def percent(fraction: float | None) -> str:
    """Return a fraction as a percent with about two digits that matter: `12.3 %`, `0.045 %`.

    Only all of something is `100 %` and only nothing is `0 %`; what is nearly so is `>99.9 %` or
    `<0.001 %`.
    """
    if fraction is None or not isfinite(fraction):
        return UNKNOWN
    value = 100 * abs(fraction)
    sign, less, more = ("", "<", ">") if fraction >= 0 else ("-", ">", "<")
    if value in (0, 100):
        return f"{sign}{value:.0f} %"
    if value < 0.001:
        return f"{less}{sign}0.001 %"
    if 99.9 < value < 100:
        return f"{more}{sign}99.9 %"
    text = f"{value:.3f}"
    for digits, least in ((2, 0.1), (1, 1)):
        if float(text) >= least:
            text = f"{value:.{digits}f}"
    return f"{sign}{text} %"


def share(part: int, whole: int) -> str:
    """Return a part of a whole in percent for a column: two digits after the point, no sign.

    100.00 is only for all of it and 0.00 only for nothing; `-` means that there is no whole.
    """
    if not whole:
        return UNKNOWN
    text = f"{100 * part / whole:.2f}"
    if text == "100.00" and part < whole:
        return ">99.99"
    if text == "0.00" and part:
        return "<0.01"
    return text


def ratio(part: float, whole: float) -> str:
    """Return a quotient, such as tokens per character; `-` where the divisor is 0."""
    return f"{part / whole:.3f}" if whole else UNKNOWN


def axis_number(number: int) -> str:
    """Return an exact number for an axis, shorter where that loses nothing: `2,048`, `2.5 M`."""
    for unit, name in _AXIS:
        if number >= unit and number % (unit // 100) == 0:
            return f"{number / unit:g} {name}"
    return count(number)


def _in_units(number: float | None, units: Sequence[str], step: int) -> str:
    """Return a number in the largest unit of which at least 1 is left."""
    if number is None or not isfinite(number):
        return UNKNOWN
    value, text = abs(number), f"{abs(number):.0f}"
    unit = 0
    while float(text) >= step and unit + 1 < len(units):
        value, unit = value / step, unit + 1
        text = f"{value:.2f}"
        if float(text) >= 10:
            text = f"{value:.1f}"
    sign = "-" if number < 0 and float(text) else ""
    return f"{sign}{text} {units[unit]}"
