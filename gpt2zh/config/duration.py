"""A period given in optimizer steps or in minutes: `1000steps`, `10min`, `never`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|s|sec|min|h)?")


class Duration:
    """A length of training in steps or in seconds; neither means never.

    Not a dataclass, for jsonargparse would split that into two flags.
    """

    __slots__ = ("seconds", "steps")

    def __init__(self, *, steps: int = 0, seconds: float = 0.0) -> None:
        """Take optimizer steps or wall-clock seconds; one of the two stays 0."""
        self.steps = steps
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __bool__(self) -> bool:
        return bool(self.steps or self.seconds)

    def __repr__(self) -> str:
        return f"Duration({self})"

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read `1000`, `1000steps`, `30s`, `10min`, `1.5h` or `never`.

        Raises:
            ValueError: The text has none of these forms.
        """
        if isinstance(text, Duration):
            return text
        given = str(text).strip().lower()
        if given in ("never", "0"):
            return cls()
        match = _FORM.fullmatch(given)
        if not match:
            raise ValueError(f"'{text}' is no period; write 1000steps, 10min, 1.5h or never")
        number, unit = match.groups()
        if unit is None or unit.startswith("step"):
            if "." in number:
                raise ValueError(f"'{text}': steps are whole; write {round(float(number))}steps")
            return cls(steps=int(number))
        return cls(seconds=float(number) * _SECONDS[unit])

    def __str__(self) -> str:
        if self.steps:
            return f"{self.steps}steps"
        return f"{self.seconds:g}s" if self.seconds else "never"

    def due(self, *, step: int, seconds: float) -> bool:
        """Whether it is time: at every multiple in steps, or once the time has passed.

        Args:
            step: Optimizer steps done since the start of the run.
            seconds: Wall-clock seconds since the last time.
        """
        if self.steps:
            return step % self.steps == 0
        return bool(self.seconds) and seconds >= self.seconds
