"""The state of one call of a compiled encoder: its documents, its position and its tokens.

Shapes: `n` documents, `s` bytes, `t` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpt2zh.text.kernels.scan import ASKED, AT, DOCUMENT, STATES, WRITTEN, Documents

_BYTES_PER_TOKEN = 3  # a first guess; `grow` makes more room


class SpanWork:
    """The documents of one call, the position of the scan, and the tokens so far."""

    def __init__(
        self,
        data: np.ndarray,
        begins: np.ndarray,
        ends: np.ndarray,
        *,
        closing_id: int | None,
        dtype: np.dtype,
    ) -> None:
        """Begin before the first document; for the arguments see `SpanEncoder.encode`."""
        begins, ends = _freeze(begins, np.int64), _freeze(ends, np.int64)
        room = int((ends - begins).sum()) // _BYTES_PER_TOKEN + 2 * len(begins) + 64
        self.documents = Documents(
            data=_freeze(data, np.uint8),
            begins=begins,
            ends=ends,
            stops=np.zeros(len(begins), np.int64),
            out=np.empty(room, dtype),
            state=np.zeros(STATES, np.int64),
            closing=np.array([] if closing_id is None else [closing_id], dtype),
        )
        if len(begins):
            self.documents.state[AT] = begins[0]

    def grow(self, least: int = 0) -> None:
        """Make room for 1.5 times as many tokens, and at least for `least` more."""
        out, written = self.documents.out, self._written
        wider = np.empty(max(len(out) + len(out) // 2, written + least), out.dtype)
        wider[:written] = out[:written]
        self.documents = self.documents._replace(out=wider)

    def asked_page(self) -> int:
        """Return the page of the table that the scan needs."""
        return int(self.documents.state[ASKED])

    def asked_text(self) -> str:
        """Return the text that the scan cannot encode."""
        begin, end = self.documents.state[AT], self.documents.state[ASKED]
        return self.documents.data[begin:end].tobytes().decode("utf-8")

    def answer(self, ids: Sequence[int]) -> None:
        """Write the ids of `asked_text`, and move the scan past it."""
        state, begin = self.documents.state, self._written
        if begin + len(ids) > len(self.documents.out):
            self.grow(len(ids))
        self.documents.out[begin : begin + len(ids)] = ids
        state[WRITTEN] += len(ids)
        state[AT] = state[ASKED]

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ids (t,) and counts (n,) after the scan is done."""
        assert self.documents.state[DOCUMENT] == len(self.documents.begins)
        counts = np.diff(self.documents.stops, prepend=0)
        return self.documents.out[: self._written].copy(), counts

    @property
    def _written(self) -> int:
        return int(self.documents.state[WRITTEN])


def _freeze(array: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """Return a contiguous read-only view, so that the scan is compiled for one type only."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view
