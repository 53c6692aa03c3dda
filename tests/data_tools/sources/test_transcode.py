"""Another encoding becomes UTF-8, however much is read at a time; bad bytes are marked."""

from __future__ import annotations

import io

import pytest

from data_tools.sources.transcode import MARK_BAD, Utf16

TEXT = "\u5c71\u6c34 abc\n\U0001f600"


def read_all(stream: Utf16, size: int) -> bytes:
    parts = []
    while part := stream.read(size):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_utf_16_becomes_utf_8(encoding: str, size: int) -> None:
    stream = Utf16(io.BytesIO(TEXT.encode(encoding)), size, encoding)
    assert stream.readable() and read_all(stream, size) == TEXT.encode()
    assert stream.read(size) == b""


@pytest.mark.parametrize("size", [1, 1000])
def test_what_cannot_be_decoded_becomes_a_byte_that_utf_8_never_has(size: int) -> None:
    half = "a".encode("utf-16-le") + b"\x00\xd8" + "b".encode("utf-16-le") + b"c"
    assert read_all(Utf16(io.BytesIO(half), size, "utf-16-le"), 7) == b"a\xffb\xff"


def test_a_broken_character_of_gb18030_does_not_swallow_what_follows() -> None:
    assert b"a\x81\x30\n".decode("gb18030", MARK_BAD) == "a\udcff0\n"
