"""What all scans share: their arguments, their position, and their statuses.

A scan encodes documents until it needs something that only Python can do. Then it returns a status
that says what it needs. The next call continues at the position in `state`.
Shapes: `n` documents, `s` bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DONE, PAGE, FULL, LONG, MISSING, CROWDED = 0, 1, 2, 3, 4, 5
"""Why a scan returned: everything is encoded; it needs the page `state[ASKED]` of the table; `out`
is full; Python must encode the text up to `state[ASKED]`; words need their ids; there is no room
for more words."""

# Elements of `state`: the document, the next byte, the number of tokens written, what the scan asks
# for, and a number that each scan uses for itself.
DOCUMENT, AT, WRITTEN, ASKED, OWN, STATES = 0, 1, 2, 3, 4, 5


class Documents(NamedTuple):
    """The documents to encode, and the room for their tokens."""

    data: np.ndarray
    """(s,) uint8."""
    begins: np.ndarray
    """(n,) int64."""
    ends: np.ndarray
    """(n,) int64."""
    stops: np.ndarray
    """(n,) int64, number of tokens written at the end of each document."""
    out: np.ndarray
    """Room for the tokens."""
    state: np.ndarray
    """(STATES,) int64."""
    closing: np.ndarray
    """The tokens added after each document, in the type of `out`."""
