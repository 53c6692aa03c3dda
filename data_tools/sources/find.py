"""Find the input files, and inspect each one: format, compression, encoding, columns.

All faults that the beginning of a file can show are reported before the work begins.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_tools.sources.csv_header import find_column, read_header
from data_tools.sources.detect import detect_encoding
from data_tools.sources.kinds import KNOWN, describe_left_out, parse_suffixes
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import open_parquet
from data_tools.sources.source import Format, Slice, SourceFile
from data_tools.sources.stream import ByteStream, open_file
from data_tools.sources.walk import search
from gpt2zh.config.errors import UserError, raise_all

_SAMPLE = 1 << 16  # bytes read at each of three positions of a file; an even number
_START = 1 << 20  # bytes of a file that are searched for the keys of JSON objects
_OBJECTS = 100  # JSON objects that are searched


def find_files(inputs: Sequence[str]) -> list[Path]:
    """Return the files that match globs, folders and file names, sorted and without duplicates.

    Prints what was left out to stderr.

    Raises:
        UserError: One of `inputs` matches no file, or a folder cannot be listed.
    """
    found = search(inputs)
    if found.left_out:
        print(describe_left_out(found.left_out), file=sys.stderr)
    return found.files


def inspect_all(paths: Sequence[Path], options: InputConfig) -> list[SourceFile]:
    """Inspect all files.

    Raises:
        UserError: At least one file cannot be used; the message names all of them.
    """
    sources, faults = [], []
    for path in paths:
        try:
            sources.append(inspect(path, options))
        except UserError as error:
            faults.append(str(error))
    raise_all(faults, "the input")
    return sources


def inspect(path: Path, options: InputConfig) -> SourceFile:
    """Inspect one file.

    Raises:
        UserError: The format is unknown, the file cannot be read, or it lacks the column or key.
    """
    kind = parse_suffixes(path.name)
    if kind is None:
        raise UserError(
            f"{path} has an unknown format; supported are {KNOWN}, all but .parquet also followed "
            "by .gz or .zst; rename the file or remove it from --input"
        )
    file_format, compression = kind
    with open_file(path) as file:
        status = os.fstat(file.fileno())
    raw = SourceFile(path, file_format, compression, "utf-8", status.st_size, status.st_mtime_ns)
    if file_format == "parquet":
        open_parquet(raw, options.content_column)
        return raw
    encoding = detect_encoding(_read_samples(raw), options.encoding)
    if file_format == "json":
        start = _read_text(_change(raw, file_format, encoding))
        file_format = "json" if start.lstrip("\ufeff \t\r\n").startswith("[") else "jsonl"
    source = _change(raw, file_format, encoding)
    if file_format == "csv":
        read_header(source, options.content_column)
    elif file_format in ("json", "jsonl"):
        _check_keys(source, options.content_column)
    return source


def _change(raw: SourceFile, file_format: Format, encoding: Any) -> SourceFile:
    return SourceFile(raw.path, file_format, raw.compression, encoding, raw.bytes, raw.mtime_ns)


def _read_samples(source: SourceFile) -> list[bytes]:
    """Return bytes from the beginning, middle and end; of a compressed file only the beginning."""
    if source.compression or source.bytes <= 3 * _SAMPLE:
        return [_read_start(source, 3 * _SAMPLE)]
    samples = []
    with open_file(source.path) as file:
        for place in (0, source.bytes // 2, source.bytes - _SAMPLE):
            file.seek(place // 2 * 2)
            samples.append(file.read(_SAMPLE))
    return samples


def _read_start(source: SourceFile, size: int) -> bytes:
    buffer = bytearray(size)
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        return bytes(buffer[: stream.readinto(memoryview(buffer))])


def _read_text(source: SourceFile) -> str:
    return _read_start(source, _START).decode("utf-8", "replace")


def _check_keys(source: SourceFile, key: str) -> None:
    """Check that the first objects of a JSON file have the key.

    Raises:
        UserError: None of them has it.
    """
    names: dict[str, None] = {}
    for value in _parse_values(_read_text(source), is_list=source.format == "json"):
        if not isinstance(value, dict) or key in value:
            return
        names |= dict.fromkeys(map(str, value))
    if names:
        find_column(list(names), key, source.path, kind="key")


def _parse_values(text: str, *, is_list: bool) -> Iterable[Any]:
    """Yield the first values of a JSON file, until one cannot be parsed."""
    decoder = json.JSONDecoder()
    text = text.lstrip("\ufeff \t\r\n")
    at = 1 if is_list else 0
    for _ in range(_OBJECTS):
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value
