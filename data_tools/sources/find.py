"""Find the input files, and inspect each one: format, compression, encoding, columns.

All faults that the beginning of a file can show are reported before the work begins.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_tools.sources.csv_header import find_column, read_header
from data_tools.sources.detect import detect_encoding
from data_tools.sources.json_shape import find_json_format, find_prefix
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import open_parquet
from data_tools.sources.source import Compression, Format, Slice, SourceFile
from data_tools.sources.stream import ByteStream, open_file
from gpt2zh.config.errors import UserError, raise_all

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}

_SAMPLE = 1 << 16  # bytes read at each of three positions of a file; an even number
_START = 1 << 20  # bytes of a file that are searched for the keys of JSON objects
_OBJECTS = 100  # JSON objects that are searched
_KNOWN = ", ".join(FORMATS)


def find_files(inputs: Sequence[str]) -> list[Path]:
    """Return the files that match globs, folders and file names, sorted and without duplicates.

    Raises:
        UserError: One of `inputs` matches no file, or a folder cannot be listed.
    """
    found: dict[str, Path] = {}
    for pattern in inputs:
        matches: Iterable[Path]
        if os.path.isdir(pattern):
            matches = (path for path in _walk(pattern) if _parse_suffixes(path))
        elif os.path.isfile(pattern):
            matches = [Path(pattern)]
        else:
            matches = map(Path, glob.glob(pattern, recursive=True))
        files = [path for path in matches if path.is_file()]
        if not files:
            raise UserError(
                f"no file matches '{pattern}' (searched from {os.getcwd()}); give a file, a folder "
                f"of files ({_KNOWN}), or a quoted glob such as 'corpus/**/*.csv'"
            )
        found |= {os.path.abspath(file): file for file in files}
    return sorted(found.values())


def _walk(folder: str) -> Iterator[Path]:
    """Yield all files below a folder.

    Raises:
        UserError: A folder cannot be listed. If it were skipped, its texts would be missing
            without notice.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f"cannot list the folder {error.filename}: {error.strerror}; make it readable or "
            "remove it from --input"
        ) from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)


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
    kind = _parse_suffixes(path)
    if kind is None:
        raise UserError(
            f"{path} has an unknown format; supported are {_KNOWN}, all but .parquet also followed "
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
    if file_format in ("json", "jsonl"):
        start = _read_text(_change(raw, file_format, encoding))
        file_format = find_json_format(
            start,
            options.content_column,
            is_whole=len(start.encode()) < _START,
            is_lines=file_format == "jsonl",
        )
    source = _change(raw, file_format, encoding)
    if file_format == "csv":
        read_header(source, options.content_column)
    elif file_format in ("json", "jsonl", "json values"):
        _check_keys(source, options.content_column)
    return source


def _parse_suffixes(path: Path) -> tuple[Format, Compression] | None:
    """Return format and compression by the name of a file; None if the format is unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    file_format = FORMATS.get(suffixes[-1]) if suffixes else None
    if file_format is None or (compression and file_format == "parquet"):
        return None
    return file_format, compression or ""


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
    at = find_prefix(text) if is_list else 0
    for _ in range(_OBJECTS):
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value
