"""Cut a very long text where its tokens are cut anyway.

An encoding takes about 200 bytes of memory per token and one core per text, so a book in one row
is better encoded in pieces. The pieces' ids joined are the whole text's ids as long as no token
reaches over a cut; `is_safe` asks a tokenizer whether that holds for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

PIECE = 100_000
"""Characters at which the next possible cut is taken."""

# Behind a line break or the end of a sentence, before a letter: common tokenizers split there
# first of all. A line break after a blank is not safe: GPT-2's pattern looks ahead over blanks.
_CUT = re.compile(r"(?:(?<=\S)\n|[。！？])(?=[^\W\d_])")
_PROBES = ("从前\n有山", "从前。有山！有庙？a b", "one\ntwo。three", "（一）。\n甲、乙")


def cut(text: str, *, longest: int = PIECE) -> Iterator[str]:
    """Yield pieces that joined are `text`, each a little longer than `longest` but for the last."""
    begin = 0
    while begin < len(text):
        match = _CUT.search(text, begin + longest)
        end = match.end() if match else len(text)
        yield text[begin:end]
        begin = end


def is_safe(encode: Callable[[str], Sequence[int]]) -> bool:
    """Tell whether the tokenizer behind `encode` gives the same ids for a text and its pieces."""
    return all(
        [number for piece in cut(probe, longest=1) for number in encode(piece)]
        == list(encode(probe))
        for probe in _PROBES
    )
