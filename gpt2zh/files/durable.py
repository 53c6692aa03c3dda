"""Write files that appear complete: under a temporary name first, then under the real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path, *, is_durable: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when everything is written.

    Args:
        path: Its name.
        is_durable: The file survives a power cut. Files that are checked before they are used need
            not.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring the bytes of a file to disk, or the names in a folder.

    After a power cut, names then keep the order of the calls.

    Raises:
        OSError: The disk cannot do it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a text so that a reader finds the old file or the new one, even after a power cut.

    Raises:
        OSError: It cannot be written.
    """
    with whole_file(path, is_durable=True) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
