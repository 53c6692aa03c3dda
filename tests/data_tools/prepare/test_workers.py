"""A phase over units; here in this process alone, test_survival has several."""

from __future__ import annotations

from pathlib import Path

from data_tools.prepare.workers import Advance, Phase, Workers
from gpt2zh.config.errors import UserError

OUT = Path("out")


class Shown:
    """Takes the place of a line of progress."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def show(self, done: int) -> None:
        self.bytes.append(done)


def run(numbers: list[int], broken: int = -1) -> tuple[list[object], list[int]]:
    """Run a phase; return what it did, and the progress."""
    done: list[object] = []
    shown = Shown()

    def begin(output: Path) -> str:
        done.append(output)
        return "tools"

    def task(tools: str, number: int, advance: Advance) -> None:
        if number == broken:
            raise UserError("broken")
        done.append((tools, number))
        advance(number)
        advance(1)

    with Workers(1) as workers:
        phase = Phase("label", begin, task)
        try:
            workers.run(phase, OUT, numbers, progress=shown, done=100)  # type: ignore[arg-type]
        except UserError:
            done.append("error")
            assert broken in numbers
    return done, shown.bytes


def test_tools_are_made_once_and_units_done_in_their_order() -> None:
    done, shown = run([3, 1, 2])
    assert done == [OUT, ("tools", 3), ("tools", 1), ("tools", 2)]
    assert shown == [103, 104, 105, 106, 108, 109]


def test_without_units_nothing_is_begun() -> None:
    assert run([]) == ([], [])


def test_an_error_ends_the_phase_at_its_unit() -> None:
    done, shown = run([3, 1, 2], broken=1)
    assert done == [OUT, ("tools", 3), "error"] and shown == [103, 104]
