"""Settings that were removed or renamed, which config files of earlier runs still have."""

from __future__ import annotations

from typing import Any

RETIRED = {"train.batch_ramp": "none"}
"""Name of each, with the value that means what every run does now."""
RENAMED = {
    "optimizer.clip": "optimizer.max_grad_norm",
    "train.curriculum": "train.sequence_length_warmup",
    "checkpoint.asynchronous": "checkpoint.async_save",
    "beams": "num_beams",
    "no_repeat_ngram": "no_repeat_ngram_size",
}
"""Old names with the new ones. They are not accepted, only explained."""
MOVED = dict.fromkeys(("ranks", "ranks_per_machine", "gpu"), "gpt2zh plan")
"""Options that launchers had, with the command that has them now."""


def check_retired(name: str, value: Any) -> str | None:
    """Return the fault of a retired setting; None if its value means what every run does now."""
    usual = RETIRED[name]
    if str(value) == usual:
        return None
    return (
        f"{name} is {value!r}, a setting that this version no longer has; remove it (or write "
        f"{usual}) and start a new run, or continue this run with the version that started it"
    )


def drop_retired(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables of options without the retired ones."""
    return {
        key: drop_retired(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in table.items()
        if f"{prefix}{key}" not in RETIRED
    }
