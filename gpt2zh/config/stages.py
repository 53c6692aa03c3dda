"""A number that differs in the first steps of a run: `128:1000steps,256:500steps`."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STAGE = re.compile(r"(\d+)\s*:\s*(\d+)\s*steps?")


class Stages:
    """A number for the first steps, then others for the next; after the last stage the usual one.

    It is a function of the step alone, so a resumed run continues with the right number. Not a
    dataclass, since jsonargparse would make flags of it.
    """

    __slots__ = ("stages",)

    def __init__(self, *stages: tuple[int, int]) -> None:
        """Take pairs of (number, optimizer steps), in order."""
        self.stages = stages

    def __bool__(self) -> bool:
        return bool(self.stages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stages) and self.stages == other.stages

    def __hash__(self) -> int:
        return hash(self.stages)

    def __repr__(self) -> str:
        return f"Stages({self})"

    @classmethod
    def parse(cls, text: object) -> Stages:
        """Read `128:1000steps,256:500steps`, or `none`.

        Raises:
            ValueError: The text has another form, or a number in it is 0.
        """
        if isinstance(text, Stages):
            return text
        given = str(text).strip().lower()
        if given == "none":
            return cls()
        stages = []
        for part in given.split(","):
            match = _STAGE.fullmatch(part.strip())
            if not match:
                raise ValueError(
                    f"'{text}' is not a valid list of stages; write 128:1000steps,256:500steps"
                )
            value, steps = map(int, match.groups())
            if value < 1 or steps < 1:
                raise ValueError(f"'{text}': both numbers of a stage must be 1 or more")
            stages.append((value, steps))
        return cls(*stages)

    def __str__(self) -> str:
        return ",".join(f"{value}:{steps}steps" for value, steps in self.stages) or "none"

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(steps for _, steps in self.stages)

    def at(self, step: int, *, then: int) -> int:
        """Return the number in an optimizer step.

        Args:
            step: Number of the step, from 1.
            then: The usual number, after all stages.
        """
        return next((value for value, _ in self.after(step - 1)), then)

    def after(self, step: int) -> Iterator[tuple[int, int]]:
        """Yield the stages that are left after `step` steps: (number, steps)."""
        for value, steps in self.stages:
            if step < steps:
                yield value, steps - step
            step = max(0, step - steps)
