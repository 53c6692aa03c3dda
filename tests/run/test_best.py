"""The best checkpoint so far, in memory and on disk."""

from __future__ import annotations

import math
from pathlib import Path

from gpt2zh.run.best import Best, read_best, write_best


def test_only_a_lower_loss_is_better() -> None:
    best = Best(10, 3.0)
    assert best.after(20, 2.9) == Best(20, 2.9)
    assert best.after(20, 3.0) == Best(10, 3.0, 1)
    assert best.after(20, math.nan).after(30, 3.1) == Best(10, 3.0, 2)


def test_what_lies_beyond_the_start_is_forgotten(tmp_path: Path) -> None:
    write_best(tmp_path, Best(10, 3.0, 2))
    assert read_best(tmp_path, step=10) == Best(10, 3.0, 2)
    assert read_best(tmp_path, step=9) is None
    (tmp_path / "best.json").write_text("{", "utf-8")
    assert read_best(tmp_path, step=10) is None
    assert read_best(tmp_path / "none", step=10) is None
