"""What all scans share: their arguments, where they stand, and why they return.

A scan goes through documents until it needs something that only Python can give; it says what by a
status, and takes up its work where `state` says. Shapes: `n` documents, `s` bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Why a scan returned.
DONE, PAGE, FULL, LONG, MISSING, CROWDED = 0, 1, 2, 3, 4, 5
"""All is encoded; the page `state[ASKED]` of the table is needed; `out` is full; the text up to
`state[ASKED]` is to be encoded elsewhere; words wait for their ids; no more words can wait."""

# Where it stands: the document, the next byte, the tokens written, what it asks for, and one
# number that the scan keeps for itself.
DOCUMENT, AT, WRITTEN, ASKED, OWN, STATES = 0, 1, 2, 3, 4, 5


class Documents(NamedTuple):
    """What is encoded, and where its tokens go."""

    data: np.ndarray
    """(s,) uint8."""
    begins: np.ndarray
    """(n,) int64."""
    ends: np.ndarray
    """(n,) int64."""
    stops: np.ndarray
    """(n,) int64, the tokens written when each document was done."""
    out: np.ndarray
    """Room for the tokens."""
    state: np.ndarray
    """(STATES,) int64."""
    closing: np.ndarray
    """The tokens put behind each document, in the type of `out`."""
