"""The state of a scan: room for tokens, answers in the middle, counts at the end."""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.scan import ASKED, AT, DOCUMENT, WRITTEN
from gpt2zh.text.span_work import SpanWork

TEXT = "从前abc".encode()


def make_work(closing_id: int | None = 7) -> SpanWork:
    begins, ends = np.array([0, 6]), np.array([6, 9])
    data = np.frombuffer(TEXT, np.uint8)
    return SpanWork(data, begins, ends, closing_id=closing_id, dtype=np.uint16)


def test_an_answer_is_written_and_the_scan_goes_on_after_it() -> None:
    work = make_work()
    work.documents.state[ASKED] = 6
    assert work.asked_text() == "从前"
    work.answer([1, 2, 3])
    assert work.documents.state[AT] == 6 and work.documents.state[WRITTEN] == 3
    assert work.documents.out[:3].tolist() == [1, 2, 3]


def test_an_answer_larger_than_the_room_makes_more_room() -> None:
    work = make_work()
    work.documents.state[ASKED] = 6
    many = list(range(2 * len(work.documents.out)))
    work.answer(many)
    work.documents.stops[:] = len(many)
    work.documents.state[DOCUMENT] = 2
    ids, counts = work.result()
    assert ids.tolist() == many and ids.dtype == np.uint16 and counts.tolist() == [len(many), 0]


def test_room_grows_by_half_and_keeps_the_tokens() -> None:
    work = make_work()
    before = len(work.documents.out)
    work.documents.out[:2] = 5, 6
    work.documents.state[WRITTEN] = 2
    work.grow()
    assert len(work.documents.out) == before + before // 2
    assert work.documents.out[:2].tolist() == [5, 6]


def test_the_documents_are_not_written_to_and_need_no_closing_token() -> None:
    work = make_work(None)
    assert not work.documents.data.flags.writeable and len(work.documents.closing) == 0
    assert make_work().documents.closing.tolist() == [7]
