"""Answer an unknown name of an option with the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gpt2zh.config.foreign import translate
from gpt2zh.config.retired import MOVED, RENAMED, RETIRED


def suggest(name: str, known: Iterable[str], mark: str = "") -> str:
    """Return `; did you mean ...?` with the nearest known name, or `; known: ...` with all.

    A name of an earlier version is answered with its new one, or with what became of it, and a name
    of another tool with ours that does the same.

    Args:
        name: The unknown name.
        known: All known names.
        mark: Prefix of the suggested name, such as `--`.
    """
    known = list(known)
    if RENAMED.get(name) in known:
        return f"; it is called {mark}{RENAMED[name]} now"
    if name in RETIRED:
        return "; this version no longer has it, so remove it"
    if name in MOVED:
        return f"; it is an option of `{MOVED[name]}` now"
    if translated := translate(name, known):
        option, remark = translated
        return f"; here it is {mark}{option}" + (f", {remark}" if remark else "")
    same_leaf = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same_leaf or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:
        leaf_of = {k.rpartition(".")[2]: k for k in known}
        leaf = difflib.get_close_matches(name.rpartition(".")[2], leaf_of, n=1, cutoff=0.6)
        close = [leaf_of[leaf[0]]] if leaf else []
    return f"; did you mean {mark}{close[0]}?" if close else f"; known: {', '.join(known)}"
