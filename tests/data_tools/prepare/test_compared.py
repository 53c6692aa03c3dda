"""All documents as one sequence, of old shards and of new drafts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from data_tools.prepare import compared
from data_tools.prepare.compared import ComparedUnit, copy_spans, find_old, make_corpus


def make_unit(
    folder: Path, number: int, texts: list[bytes], *, is_old: bool = False
) -> ComparedUnit:
    signed = np.random.default_rng(number).integers(0, 256, (len(texts), 128)).astype(np.uint8)
    signed.tofile(folder / f"{number}.signatures")
    (folder / f"{number}.texts").write_bytes(b"".join(texts))
    np.array([*map(len, texts)], np.int64).tofile(folder / f"{number}.sizes")
    return ComparedUnit(
        number,
        folder / "table",
        folder / f"{number}.signatures",
        len(texts),
        texts=None if is_old else folder / f"{number}.texts",
        text_sizes=None if is_old else folder / f"{number}.sizes",
    )


@pytest.mark.parametrize("in_memory", [1 << 26, 0])
def test_documents_are_found_in_their_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(compared, "_IN_MEMORY", in_memory)
    units = [
        make_unit(tmp_path, 0, [b"old", b"older"], is_old=True),
        make_unit(tmp_path, 1, [b"a", b"bb", b"ccc"]),
        make_unit(tmp_path, 2, []),
        make_unit(tmp_path, 3, [b"dddd", b"eeeee"]),
    ]
    corpus = make_corpus(units, 0.8, tmp_path)
    chosen = np.array([1, 2, 4, 6])
    signed = np.concatenate([unit.signed() for unit in units])
    assert (corpus.signatures(chosen) == signed[chosen]).all()
    data, begins, ends = corpus.texts(chosen)
    found = [bytes(data[a:b]) if b >= 0 else None for a, b in zip(begins, ends, strict=True)]
    assert found == [None, b"a", b"ccc", b"eeeee"]
    assert len(corpus.keys(0)) == len(signed) == 7
    assert not list(tmp_path.glob("tmp*"))  # the file behind a large buffer has no name


def test_the_file_of_large_texts_has_its_blocks_before_it_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []

    def watch(**options: Any) -> IO[bytes]:
        file = temporary_file(**options)
        files.append(os.dup(file.fileno()))
        return file

    temporary_file = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", watch)
    monkeypatch.setattr(compared, "_IN_MEMORY", 0)
    assert len(compared._buffer(100_000, tmp_path)) == 100_000
    # Writing to a mapped hole on a full disk ends the process with SIGBUS.
    assert os.fstat(files[0]).st_blocks * 512 >= 100_000
    os.close(files[0])


def test_no_units_have_no_documents(tmp_path: Path) -> None:
    corpus = make_corpus([], 0.8, tmp_path)
    assert len(corpus.keys(0)) == 0 and len(corpus.texts(np.empty(0, np.int64))[0]) == 0


def test_spans_are_copied_one_after_the_other() -> None:
    data = np.frombuffer(b"0123456789", np.uint8)
    out = np.empty(5, np.uint8)
    copy_spans(data, np.array([1, 4, 7]), np.array([3, 4, 10]), out)
    assert out.tobytes() == b"12789"


def test_old_documents_are_those_of_units_that_are_in_the_shards(tmp_path: Path) -> None:
    units = [make_unit(tmp_path, 0, [b"a", b"b"], is_old=True), make_unit(tmp_path, 1, [b"c"])]
    assert find_old(units).tolist() == [True, True, False]
    assert (~find_old([])).tolist() == []
