"""Documents for a compiled scan, with as much room for tokens as a test wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpt2zh.text.kernels.scan import WRITTEN
from gpt2zh.text.span_work import SpanWork

CLOSING = 9


def work_of(texts: Sequence[str], *, room: int = 64) -> SpanWork:
    """Return work on these texts, each of which a token 9 ends."""
    parts = [text.encode() for text in texts]
    ends = np.cumsum([len(part) for part in parts])
    begins = ends - [len(part) for part in parts]
    data = np.frombuffer(b"".join(parts), np.uint8)
    work = SpanWork(data, begins, ends, closing_id=CLOSING, dtype=np.dtype(np.uint16))
    work.documents = work.documents._replace(out=np.empty(room, np.uint16))
    return work


def written(work: SpanWork) -> list[int]:
    """Return the tokens so far."""
    found: list[int] = work.documents.out[: work.documents.state[WRITTEN]].tolist()
    return found
