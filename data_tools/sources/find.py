"""Find the input files, and inspect each one: format, compression, encoding, columns.

All faults that the beginning of a file can show are reported before the work begins.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from data_tools.sources.column import find_column
from data_tools.sources.csv_header import read_header
from data_tools.sources.delimiter import AUTO, detect_delimiter, name_of, parse_delimiter
from data_tools.sources.detect import Guess, guess_encoding, settle
from data_tools.sources.json_shape import find_json_format, find_prefix
from data_tools.sources.kinds import (
    KNOWN,
    MAGIC_BYTES,
    describe_left_out,
    describe_stranger,
    detect_compression,
    parse_suffixes,
)
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import open_parquet
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream, open_file
from data_tools.sources.walk import search
from gpt2zh.config.errors import UserError, printable, raise_all
from gpt2zh.pages.console import Progress
from gpt2zh.pages.numbers import plural

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

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
    """Inspect all files, with a line of progress.

    Raises:
        UserError: At least one file cannot be used; the message names all of them.
    """
    parse_delimiter(options.delimiter)
    faults: list[str] = []
    progress = Progress(
        "inspecting", 2 * len(paths), amount=lambda n: plural(round(n / 2), "file", show=str)
    )

    def try_each(items: Sequence[_Item], act: Callable[[_Item], _Result]) -> list[_Result]:
        results = []
        for item in items:
            try:
                results.append(act(item))
            except UserError as error:
                faults.append(str(error))
            steps = next(counter)
            progress.show(steps)
        return results

    counter = itertools.count(1)
    opened = try_each(paths, lambda path: _open(path, options))
    encodings = settle({one.path: guess for one, guess in opened})
    found = [replace(one, encoding=encodings[one.path]) for one, _ in opened]
    sources = try_each(found, lambda one: _look_inside(one, options))
    progress.close()
    raise_all(faults, "the input")
    for line in _surprises(sources, options):
        print(line, file=sys.stderr)
    return sources


def _surprises(sources: Sequence[SourceFile], options: InputConfig) -> list[str]:
    """Return what was found that the names of files do not say, a line for each kind."""
    kinds: dict[str, list[Path]] = {}
    for source in sources:
        named = parse_suffixes(source.path.name)
        if named and named[1] != source.compression:
            what = f"compressed with {source.compression}, though the name does not say so"
            kinds.setdefault(what, []).append(source.path)
        if options.delimiter == AUTO and source.delimiter != _usual_delimiter(source.path):
            what = f"read with the columns separated by {name_of(source.delimiter)}"
            kinds.setdefault(what, []).append(source.path)
    return [
        printable(f"{paths[0]} is {what}")
        if len(paths) == 1
        else printable(f"{len(paths)} files are {what}, such as {paths[0]}")
        for what, paths in kinds.items()
    ]


def inspect(path: Path, options: InputConfig) -> SourceFile:
    """Inspect one file.

    Raises:
        UserError: The format is unknown, the file cannot be read, or it lacks the column or key.
    """
    source, guess = _open(path, options)
    encoding = settle({path: guess})[path]
    return _look_inside(replace(source, encoding=encoding), options)


def _open(path: Path, options: InputConfig) -> tuple[SourceFile, Guess]:
    """Return a file by its name and size, and what its bytes say about its encoding."""
    kind = parse_suffixes(path.name)
    if kind is None:
        raise UserError(
            f"{path} has an unknown format; supported are {KNOWN}, all but .parquet also followed "
            "by .gz or .zst; rename the file or remove it from --input"
        )
    file_format, compression = kind
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        start = file.read(MAGIC_BYTES)
    if file_format != "parquet":
        compression = compression or detect_compression(start)
        if stranger := describe_stranger(start):
            raise UserError(f"{path} {stranger}, or remove it from --input")
    raw = SourceFile(path, file_format, compression, "utf-8", status.st_size, status.st_mtime_ns)
    if file_format == "parquet":
        return raw, Guess("utf-8", is_ascii=True)
    return raw, guess_encoding(_read_samples(raw), options.encoding)


def _look_inside(source: SourceFile, options: InputConfig) -> SourceFile:
    """Return a file with its final format, after a look for the column or key."""
    if source.format == "parquet":
        open_parquet(source, options.content_column)
        return source
    if source.format in ("json", "jsonl"):
        start = _read_text(source)
        found = find_json_format(
            start,
            options.content_column,
            is_whole=len(start.encode()) < _START,
            is_lines=source.format == "jsonl",
        )
        source = replace(source, format=found)
    if source.format == "csv":
        source = replace(source, delimiter=_choose_delimiter(source, options))
        read_header(source, options.content_column)
    elif source.format in ("json", "jsonl", "json values"):
        _check_keys(source, options.content_column)
    return source


def _choose_delimiter(source: SourceFile, options: InputConfig) -> str:
    wanted = parse_delimiter(options.delimiter)
    if wanted != AUTO:
        return wanted
    start = _read_start(source, _SAMPLE)
    return detect_delimiter(
        start,
        options.content_column,
        usual=_usual_delimiter(source.path),
        is_whole=len(start) < _SAMPLE,
    )


def _usual_delimiter(path: Path) -> str:
    return "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]] else ","


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
        start = bytes(buffer[: stream.readinto(memoryview(buffer))])
        stream.refuse_damage()
        return start


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
