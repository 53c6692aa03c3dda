"""Validation: how its rows are shared out."""

from __future__ import annotations

from gpt2zh.run.validate import share_rows


def test_validation_rows_are_shared_out_by_size() -> None:
    assert share_rows(100, [300, 100]) == [75, 25]
    assert share_rows(100, [100_000, 1]) == [100, 1]
    assert share_rows(0, [300, 100]) == [300, 100]
    assert share_rows(512, [700]) == [512]
