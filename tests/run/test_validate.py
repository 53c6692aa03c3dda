"""Validation: how its rows are shared out."""

from __future__ import annotations

from gpt2zh.run.validate import rows_each


def test_validation_rows_are_shared_out_by_size() -> None:
    assert rows_each(100, [300, 100]) == [75, 25]
    assert rows_each(100, [100_000, 1]) == [100, 1]
    assert rows_each(0, [300, 100]) == [300, 100]
    assert rows_each(512, [700]) == [512]
