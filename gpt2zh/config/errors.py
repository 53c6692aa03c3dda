"""The error of a user's input, told apart from our own faults."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(ValueError):
    """What was given cannot work; the message shows the value, the rule and the cure.

    The command line prints it without a traceback and exits with code 2.
    """


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
