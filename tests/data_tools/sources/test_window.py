"""A window over a stream: what is needed stays, what is skipped is not kept."""

from __future__ import annotations

import pytest

from data_tools.sources import window as module
from data_tools.sources.window import Window

from .conftest import Stream


@pytest.fixture(params=[1, 3, 7, 1000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set how many bytes are read at a time."""
    monkeypatch.setattr(module, "CHUNK", request.param)
    return request.param


def content(window: Window) -> bytes:
    return window.data[window.begin : window.end].tobytes()


def test_a_fill_keeps_what_is_needed_and_knows_its_place(chunk: int) -> None:
    data = bytes(range(100))
    window = Window(Stream(data))  # type: ignore[arg-type]
    window.begin += 1
    while not window.is_last:
        window.fill()
        assert content(window) == data[window.offset : window.offset + window.end]
        assert window.offset == 1 and window.begin == 0
    assert content(window) == data[1:]


def test_old_data_is_not_written_over(chunk: int) -> None:
    window = Window(Stream(bytes(range(50))))  # type: ignore[arg-type]
    before = window.data
    copy = before[: window.end].copy()
    window.begin = window.end
    window.fill()
    assert window.data is not before and (before[: len(copy)] == copy).all()


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb", b""])
def test_a_byte_order_mark_is_skipped_only_whole(chunk: int, mark: bytes) -> None:
    window = Window(Stream(mark + b"x"))  # type: ignore[arg-type]
    assert window.skip_mark() == (3 if len(mark) == 3 else 0)
    window.skip(0 if len(mark) == 3 else len(mark))
    while not window.is_last:
        window.fill()
    assert content(window) == b"x"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r", b""])
def test_a_line_is_skipped_with_its_end_and_counted(chunk: int, line_end: bytes) -> None:
    rest = b"next" if line_end else b""
    window = Window(Stream(b"0123456789" + line_end + rest))  # type: ignore[arg-type]
    assert window.skip_line() == 10 + len(line_end)
    while not window.is_last:
        window.fill()
    assert content(window) == rest


def test_skipping_goes_over_many_fills_and_ends_with_the_stream(chunk: int) -> None:
    window = Window(Stream(bytes(range(100))))  # type: ignore[arg-type]
    window.skip(60)
    window.fill()
    assert content(window)[:1] == bytes([60])
