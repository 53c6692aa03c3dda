"""The error of a user's input, told apart from our own faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gpt2zh.config.exit_codes import Exit

Result = TypeVar("Result")


class UserError(ValueError):
    """What was given cannot work; the message shows the value, the rule and the cure.

    The command line prints it without a traceback and exits with code 2.
    """


def attempt(act: Callable[[], Result], faults: list[str]) -> Result | None:
    """Return what `act` returns, or None if the user has made a mistake, and add that to `faults`.

    An OSError counts as one: it names its file and the reason.
    """
    try:
        return act()
    except (UserError, OSError) as error:
        faults.append(str(error))
        return None


def raise_all(faults: Sequence[str], title: str) -> None:
    """Raise one `UserError` that lists every fault, so that a user mends them in one go.

    Args:
        faults: One sentence for each fault; nothing is raised when there are none.
        title: What was checked.

    Raises:
        UserError: There is at least one fault.
    """
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        raise UserError(f"{title}: {len(faults)} faults\n" + "\n".join(f"  - {f}" for f in faults))


class RunError(Exception):
    """A run ended early, for a reason that the user has to know and nobody's program erred."""

    def __init__(self, code: Exit, message: str) -> None:
        """Take the exit code and what to tell."""
        super().__init__(message)
        self.code = code
