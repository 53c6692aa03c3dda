"""A period in optimizer steps, in minutes, or both: `1000steps`, `10min`, `1000steps,10min`."""

from __future__ import annotations

import math
import re

_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|s|sec|min|h)?")


class Duration:
    """A length of training in steps, in seconds, or both (whichever ends first); neither is never.

    Not a dataclass, since jsonargparse would make two flags of it.
    """

    __slots__ = ("seconds", "steps")

    def __init__(self, *, steps: int = 0, seconds: float = 0.0) -> None:
        """Take optimizer steps and wall-clock seconds; 0 means that one is not used."""
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
        """Read `1000`, `1000steps`, `30s`, `10min`, `1.5h`, two of them with a comma, or `never`.

        Raises:
            ValueError: The text has none of these forms.
        """
        if isinstance(text, Duration):
            return text
        given = str(text).strip().lower()
        if given in ("never", "0"):
            return cls()
        steps, seconds = 0, 0.0
        for part in given.split(","):
            match = _FORM.fullmatch(part.strip())
            if not match:
                raise ValueError(
                    f"'{text}' is not a valid period; write 1000steps, 10min, 1.5h, "
                    "1000steps,10min or never"
                )
            number, unit = match.groups()
            if unit is not None and not unit.startswith("step"):
                seconds = float(number) * _SECONDS[unit]
            elif "." in number:
                raise ValueError(
                    f"'{text}': steps must be an integer; write {math.ceil(float(number))}steps"
                )
            else:
                steps = int(number)
        return cls(steps=steps, seconds=seconds)

    def __str__(self) -> str:
        parts = [f"{self.steps}steps"] * bool(self.steps)
        if self.seconds:
            unit = next(u for u in ("h", "min", "s") if self.seconds % _SECONDS[u] == 0 or u == "s")
            number = self.seconds / _SECONDS[unit]
            parts.append(f"{int(number) if number == int(number) else number}{unit}")
        return ",".join(parts) or "never"

    def is_due(self, *, step: int, seconds: float) -> bool:
        """Return whether it is time again: at every multiple in steps, or after the seconds.

        Args:
            step: Optimizer steps since the start of the run.
            seconds: Wall-clock seconds since the last time.
        """
        return bool(self.steps and step % self.steps == 0) or self.is_over(step=0, seconds=seconds)

    def is_over(self, *, step: int, seconds: float) -> bool:
        """Return whether this length has passed; `never` is never over.

        Args:
            step: Optimizer steps since the start of this length.
            seconds: Wall-clock seconds since the start of this length.
        """
        return bool(self.steps and step >= self.steps) or bool(
            self.seconds and seconds >= self.seconds
        )
