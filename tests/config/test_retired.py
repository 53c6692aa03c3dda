"""Settings of earlier versions: read as long as they mean what every run does now."""

from __future__ import annotations

import pytest

from gpt2zh.config.retired import RENAMED, check_retired, drop_retired
from gpt2zh.config.suggestions import suggest


def test_a_retired_setting_is_a_fault_only_with_another_value() -> None:
    assert check_retired("train.batch_ramp", "none") is None
    fault = check_retired("train.batch_ramp", "4:5steps")
    assert fault and "train.batch_ramp is '4:5steps'" in fault and "write none" in fault


def test_retired_settings_are_taken_out_of_nested_tables_only_at_their_place() -> None:
    table = {"seed": 1, "batch_ramp": 2, "train": {"batch_ramp": "none", "steps": 3}}
    assert drop_retired(table) == {"seed": 1, "batch_ramp": 2, "train": {"steps": 3}}
    assert table["train"] == {"batch_ramp": "none", "steps": 3}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_setting_is_answered_with_its_new_name(old: str, new: str) -> None:
    assert suggest(old, ["seed", new], "--") == f"; it is called --{new} now"
    assert "is called" not in suggest(old, ["seed"])  # a command without it
