"""A window over the text of a stream."""

from __future__ import annotations

import pytest

from data_tools.sources.json_window import TextWindow

from .conftest import Stream


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_what_is_looked_at_does_not_depend_on_the_chunks(set_limits, chunk: int) -> None:
    set_limits(chunk=chunk)
    window = TextWindow(Stream('字 \n b"好'.encode()))
    window.fill()
    assert window.look(window.at, 3) == ("字 \n", False)
    assert window.skip_to(window.at + 1) == "字".encode() and window.passed == 1
    assert window.skip_space() == 3 and window.peek() == "b"
    assert window.look(window.at + 1, 2) == ('"好', True)
    assert window.look(window.at + 1, 50) == ('"好', True)


def test_bad_bytes_come_back_as_they_were(set_limits) -> None:
    set_limits(chunk=1)
    window = TextWindow(Stream(b"a\xff\xe4\xb8"))
    window.fill()
    window.look(window.at, 10)
    assert window.skip_to(len(window.text)) == b"a\xff\xe4\xb8" and window.peek() == ""
