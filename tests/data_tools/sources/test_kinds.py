"""Kinds of files by name and by first bytes, and how what is left out is described."""

from __future__ import annotations

import gzip

import pytest

from data_tools.sources.kinds import (
    describe_left_out,
    describe_stranger,
    detect_compression,
    parse_suffixes,
    unknown_kind,
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", ("csv", "")),
        ("a.b.TSV.GZ", ("csv", "gzip")),
        ("a.parquet", ("parquet", "")),
        ("a.parquet.gz", None),
        ("a.jsonl.zst", ("jsonl", "zstd")),
        ("a.gz", None),
        ("csv", None),
        ("a.md", None),
    ],
)
def test_format_and_compression_follow_from_the_name(name: str, kind: tuple | None) -> None:
    assert parse_suffixes(name) == kind


def test_first_bytes_show_compression_and_strangers() -> None:
    assert detect_compression(gzip.compress(b"x")) == "gzip"
    assert detect_compression(b"\x28\xb5\x2f\xfd0") == "zstd"
    assert detect_compression(b"content\n") == ""
    assert describe_stranger(b"content\n") is None and describe_stranger(b"") is None
    assert describe_stranger(b"PK\x03\x04rest") == (
        "is a zip archive (or .xlsx, .docx); unpack it, or save it as CSV"
    )


def test_what_is_left_out_is_counted_with_the_cure() -> None:
    assert describe_left_out([]) == ""
    assert describe_left_out(["hidden", "hidden"]) == "left out: 2 hidden"
    text = describe_left_out([".md", ".xz", ".md", "folder", "hidden", ".md", "folder"])
    assert text.startswith("left out: 3 .md, 1 .xz, 2 folders, 1 hidden (these are read: .csv")
    assert "rename text files such as .md to .txt; unpack .xz" in text and "end the glob" in text
    many = describe_left_out([f".k{number}" for number in range(20)])
    assert "1 .k0, " in many and "13 of other kinds" in many


def test_a_suffix_that_could_be_anything_is_not_shown() -> None:
    assert [unknown_kind(name) for name in ("a.MD", "a.csv.xz", "Makefile", "v1.2 \x1b[31m")] == [
        ".md",
        ".xz",
        "without a known suffix",
        "without a known suffix",
    ]
    assert unknown_kind("a.gz") == ".gz"
