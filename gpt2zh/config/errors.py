"""Errors with a known cause, whose message is all that a user needs."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeVar

from gpt2zh.config.exit_codes import Exit

Result = TypeVar("Result")


class UserError(ValueError):
    """The input is not valid. The message shows the value, the rule and the cure.

    The command line prints it without a traceback and exits with code 2. Its text holds nothing
    that could disturb a terminal, whatever a file or its name contains.
    """

    faults: tuple[str, ...] = ()
    """The single faults, where `raise_all` found them."""

    def __str__(self) -> str:
        """Return the message with control and invisible characters escaped."""
        return printable(super().__str__())


_ESCAPES = {"\t": "\\t", "\r": "\\r"}
_DISTURBING = ("Cc", "Cf", "Cs", "Zl", "Zp")
_FIRST_BYTE = 0xDC80  # of those that `surrogateescape` makes of bytes that are not UTF-8


def printable(text: str) -> str:
    """Return a text with control and invisible characters escaped; line feeds stay."""
    if text.isprintable():
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _DISTURBING:
        return character
    code = ord(character)
    if code < 0x100 or _FIRST_BYTE <= code < _FIRST_BYTE + 0x80:
        return _ESCAPES.get(character, f"\\x{code & 0xFF:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
    if not faults:
        return
    text = f"{title}: {len(faults)} faults\n" + "\n".join(f"  - {f}" for f in faults)
    error = UserError(faults[0] if len(faults) == 1 else text)
    error.faults = tuple(faults)
    raise error


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
