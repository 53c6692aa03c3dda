"""Errors with a known cause, whose message is all that a user needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gpt2zh.config.exit_codes import Exit

Result = TypeVar("Result")


class UserError(ValueError):
    """The input is not valid. The message shows the value, the rule and the cure.

    The command line prints it without a traceback and exits with code 2.
    """


def attempt(act: Callable[[], Result], faults: list[str]) -> Result | None:
    """Return what `act` returns; on a user's mistake add its message to `faults` and return None.

    An OSError counts as one, since it names its file and the reason.
    """
    try:
        return act()
    except (UserError, OSError) as error:
        faults.append(str(error))
        return None


def raise_all(faults: Sequence[str], title: str) -> None:
    """Raise one `UserError` that lists every fault, so that a user can correct all at once.

    Args:
        faults: One sentence for each fault; without any, nothing is raised.
        title: What was checked; shown if there are several faults.

    Raises:
        UserError: There is at least one fault.
    """
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        raise UserError(f"{title}: {len(faults)} faults\n" + "\n".join(f"  - {f}" for f in faults))


class RunError(Exception):
    """The run ended early for a known reason that is not a bug."""

    def __init__(self, code: Exit, message: str, *, is_everywhere: bool = True) -> None:
        """Take what ended the run.

        Args:
            code: Exit code.
            message: For the user.
            is_everywhere: Whether all ranks have this error, so that rank 0 alone prints it.
        """
        super().__init__(message)
        self.code = code
        self.is_everywhere = is_everywhere
