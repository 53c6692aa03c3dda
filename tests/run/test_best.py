"""The validations of a run, in memory and on disk: which was the best, and how long ago."""

from __future__ import annotations

import json
import math
from pathlib import Path

from gpt2zh.run.best import History, read_history, write_history


def history(*losses: float) -> History:
    found = History()
    for number, loss in enumerate(losses, start=1):
        found = found.after(10 * number, loss)
    return found


def test_only_a_lower_loss_is_better() -> None:
    assert history().improvements == [] and history().since_best == 0
    assert history(3.0).improvements == [(10, 3.0)] and history(3.0).since_best == 0
    found = history(3.0, 3.0, 2.9, 3.1, 2.9)
    assert found.improvements == [(10, 3.0), (30, 2.9)]
    assert found.since_best == 2


def test_a_loss_of_nan_is_never_the_best_not_even_the_first() -> None:
    assert history(math.nan, 4.0, math.nan).improvements == [(20, 4.0)]
    assert history(math.nan, 4.0, math.nan).since_best == 1
    assert history(math.nan, math.nan).improvements == []
    assert history(math.nan, math.nan).since_best == 2


def test_what_lies_beyond_the_start_is_forgotten_and_what_came_before_counts_again(
    tmp_path: Path,
) -> None:
    write_history(tmp_path, history(3.0, 2.0, 2.5, 1.0, 1.5))
    assert read_history(tmp_path, step=50) == history(3.0, 2.0, 2.5, 1.0, 1.5)
    back = read_history(tmp_path, step=30)
    assert back.improvements == [(10, 3.0), (20, 2.0)] and back.since_best == 1
    assert read_history(tmp_path, step=9) == History()


def test_the_file_names_the_best_step_and_is_json_with_nan_too(tmp_path: Path) -> None:
    write_history(tmp_path, history(3.0, math.nan))
    table = json.loads((tmp_path / "best.json").read_text("utf-8"), parse_constant=refuse)
    assert (table["step"], table["loss"]) == (10, 3.0)
    found = read_history(tmp_path, step=20)
    assert found.losses[0] == (10, 3.0) and math.isnan(found.losses[1][1])


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_a_file_that_cannot_be_read_is_an_empty_history(tmp_path: Path) -> None:
    assert read_history(tmp_path, step=10) == History()
    for text in ("{", "{}", '{"validations": [[1]]}', '{"validations": 3}'):
        (tmp_path / "best.json").write_text(text, "utf-8")
        assert read_history(tmp_path, step=10) == History()
