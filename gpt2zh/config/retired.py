"""Settings that this version no longer has: config files of earlier runs still name them."""

from __future__ import annotations

from typing import Any

RETIRED = {"train.batch_ramp": "none"}
"""Each with the value that means what every run does now."""


def retired_fault(name: str, value: Any) -> str | None:
    """Return what is wrong with a retired setting; None if it means what every run does now."""
    usual = RETIRED[name]
    if str(value) == usual:
        return None
    return (
        f"{name} is {value!r}, a setting that this version no longer has; remove it (or write "
        f"{usual}) and begin another run, or continue this one with the version that began it"
    )


def without_retired(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables of options without the retired ones."""
    return {
        key: without_retired(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in table.items()
        if f"{prefix}{key}" not in RETIRED
    }
