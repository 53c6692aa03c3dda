"""What readers know about a file of the input."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.sources.source import Compression, Encoding, SourceFile


@pytest.mark.parametrize(
    ("compression", "encoding", "is_plain"),
    [
        ("", "utf-8", True),
        ("", "utf-8-sig", True),
        ("", "gb18030", False),
        ("", "utf-16-le", False),
        ("gzip", "utf-8", False),
    ],
)
def test_only_utf_8_that_is_not_compressed_is_plain(
    compression: Compression, encoding: Encoding, is_plain: bool
) -> None:
    source = SourceFile(Path("a"), "csv", compression, encoding, bytes=1, mtime_ns=0)
    assert source.is_plain == is_plain
