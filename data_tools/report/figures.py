"""Numbers as text that claims no more than is true: shares that are never rounded up to all."""

from __future__ import annotations


def share(part: int, whole: int) -> str:
    """Return a share in percent: 100.00 only for all of it, 0.00 only for nothing."""
    if not whole:
        return "-"
    text = f"{100 * part / whole:.2f}"
    if text == "100.00" and part < whole:
        return ">99.99"
    if text == "0.00" and part:
        return "<0.01"
    return text


def count(number: int) -> str:
    """Return a whole number, exact, its thousands apart."""
    return f"{number:,}"


def size(number: int) -> str:
    """Return bytes in a unit that suits them, with three digits or more."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= unit:
            return f"{number / unit:.{2 if number < 10 * unit else 1}f} {name}"
    return f"{number} B"


def ratio(part: int, whole: int) -> str:
    """Return a quotient, such as tokens per character."""
    return f"{part / whole:.3f}" if whole else "-"
