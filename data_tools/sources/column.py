"""Find the wanted column (or key) among the names in a file, and say what helps if it is missing.

Names that a person cannot tell apart match, if only one of them does: those that differ in
invisible characters, spaces around them, or full-width letters.
"""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from gpt2zh.config.errors import UserError, printable

_NAMES_SHOWN = 30
_LONGEST_NAME = 80
_WORD = re.compile(r"[\w.:/@%+-]+")  # a word for bash, of any letters
_SEPARATORS = ",\t;|\uff0c\uff1b\n\r"


def find_place(names: Sequence[str], column: str) -> int | None:
    """Return the position of a column: by its exact name, else by how it looks; None if unclear."""
    exact = [place for place, name in enumerate(names) if name == column]
    alike = exact or [place for place, name in enumerate(names) if _plain(name) == _plain(column)]
    return alike[0] if len(alike) == 1 else None


def find_column(
    names: Sequence[str],
    column: str,
    path: Path,
    *,
    kind: str = "column",
    note: str = "",
    cure: str = "",
) -> int:
    """Return the position of a column (or key) among the names.

    Args:
        names: All columns of a file.
        column: The wanted one.
        path: The file, for the message.
        kind: "column" or "key", for the message. A key must have the exact name.
        note: What else is known about the columns, for the message.
        cure: What helps if the column is missing; by default another name, or to rename one.

    Raises:
        UserError: The column is missing or occurs more than once.
    """
    place = find_place(names, column)
    if place is not None and (kind == "column" or names[place] == column):
        return place
    shown = ", ".join(map(show_name, names[:_NAMES_SHOWN]))
    shown += f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    alike = [name for name in names if _plain(name) == _plain(column)]
    if len(alike) > 1:
        raise UserError(
            f"{path} has {len(alike)} {kind}s named '{column}' (all {kind}s: {shown}); "
            "rename all but one of them"
        )
    listed = f"{path} has no {kind} '{printable(column)}'; its {kind}s are: {shown}{note}"
    raise UserError(f"{listed}; {cure or _cure(names, column)}")


def show_name(name: str) -> str:
    """Return a name for a message, with escapes for what cannot be seen."""
    shown = "".join(
        f"\\u{ord(one):04x}" if unicodedata.category(one) == "Zs" and one != " " else one
        for one in printable(name[:_LONGEST_NAME]).replace("\n", "\\n")
    )
    return f"'{shown}'" if shown != shown.strip() or not shown else shown


def _plain(name: str) -> str:
    """Return what a person sees of a name."""
    normal = unicodedata.normalize("NFKC", name)
    return "".join(one for one in normal if unicodedata.category(one) != "Cf").strip()


def _cure(names: Sequence[str], column: str) -> str:
    # A name that holds a separator is a header that was not split: nothing to choose.
    usable = {_plain(name): name for name in names if not any(one in name for one in _SEPARATORS)}
    near = difflib.get_close_matches(_plain(column), usable, n=1)
    if near:
        return f"did you mean --content-column {_typed(usable[near[0]])}?"
    return "choose one with --content-column" if usable else "rename the one that holds the text"


def _typed(name: str) -> str:
    """Return a name as bash takes it."""
    if name == printable(name) and "\xa0" not in name:
        return name if _WORD.fullmatch(name) else shlex.quote(name)
    coded = "".join(
        one if one.isalnum() else f"\\u{ord(one):04x}" if ord(one) < 0x10000 else one
        for one in name
    )
    return f"$'{coded}'"
