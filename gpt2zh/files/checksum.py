"""Check that a file has the size and sha256 with which it was written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from gpt2zh.config.errors import UserError

_BLOCK = 1 << 22


class Entry(Protocol):
    """The entry of one file in a manifest."""

    @property
    def file(self) -> str:
        """Name within its folder."""
        ...

    @property
    def bytes(self) -> int:
        """Size."""
        ...

    @property
    def sha256(self) -> str:
        """sha256 of its bytes, as hex."""
        ...


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_size(folder: Path, entry: Entry, *, kind: str) -> None:
    """Compare the size of a file in a folder of shards with its manifest.

    Args:
        folder: The folder of shards.
        entry: The manifest's entry of the file.
        kind: Kind of the file, for messages.

    Raises:
        UserError: The file is missing, or has another size.
    """
    path = folder / entry.file
    if not path.is_file():
        raise UserError(f"{kind} {path} is missing; copy it here or prepare the shards again")
    size = path.stat().st_size
    if size != entry.bytes:
        state = "truncated" if size < entry.bytes else "altered"
        raise UserError(
            f"{kind} {path} is {state}: it has {size} bytes, the manifest says {entry.bytes}; copy "
            "it again or prepare the shards again"
        )


def check_content(folder: Path, entry: Entry, *, kind: str) -> None:
    """Compare the size and sha256 of a file with its manifest; see `check_size`.

    Raises:
        UserError: They differ.
    """
    check_size(folder, entry, kind=kind)
    path = folder / entry.file
    digest = file_sha256(path)
    if digest != entry.sha256:
        raise UserError(
            f"{kind} {path} was altered: its sha256 is {digest[:16]}..., the manifest says "
            f"{entry.sha256[:16]}...; copy it again or prepare the shards again"
        )
