"""Shorter sequences at the beginning of a run: `128:1000steps,256:500steps`."""

from __future__ import annotations

import re

_STAGE = re.compile(r"(\d+)\s*:\s*(\d+)\s*steps?")


class Curriculum:
    """Lengths of the sequences of the first steps; after these the full context, from the first
    step on if there are none.

    A function of the step alone, so that a resumed run goes on with the right length. Not a
    dataclass, for jsonargparse would split that into flags.
    """

    __slots__ = ("stages",)

    def __init__(self, *stages: tuple[int, int]) -> None:
        """Take (tokens of a sequence, optimizer steps) one after the other."""
        self.stages = stages

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curriculum) and self.stages == other.stages

    def __hash__(self) -> int:
        return hash(self.stages)

    def __repr__(self) -> str:
        return f"Curriculum({self})"

    @classmethod
    def parse(cls, text: object) -> Curriculum:
        """Read `128:1000steps,256:500steps`, or `none`.

        Raises:
            ValueError: The text has another form, or a number in it is too small.
        """
        if isinstance(text, Curriculum):
            return text
        given = str(text).strip().lower()
        if given == "none":
            return cls()
        stages = []
        for part in given.split(","):
            match = _STAGE.fullmatch(part.strip())
            if not match:
                raise ValueError(f"'{text}' is no curriculum; write 128:1000steps,256:500steps")
            length, steps = map(int, match.groups())
            if length < 2 or steps < 1:
                raise ValueError(f"'{text}': at least 2 tokens (one predicts) for at least 1 step")
            stages.append((length, steps))
        return cls(*stages)

    def __str__(self) -> str:
        return ",".join(f"{length}:{steps}steps" for length, steps in self.stages) or "none"

    @property
    def steps(self) -> int:
        """Steps before the full context."""
        return sum(steps for _, steps in self.stages)

    def length_at(self, step: int, *, context: int) -> int:
        """Tokens of a sequence in optimizer step `step`, the first is 1.

        Args:
            step: Number of the step.
            context: The full length.
        """
        for length, steps in self.stages:
            if step <= steps:
                return length
            step -= steps
        return context
