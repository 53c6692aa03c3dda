"""Which files make up a folder of shards, and whether they are what was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.config.errors import UserError
from gpt2zh.data.checksum import file_sha256
from gpt2zh.data.manifest import MANIFEST, FileEntry, Manifest, ShardEntry


@dataclass(frozen=True)
class Item:
    """A file of which the manifest knows the content."""

    kind: str
    """In words, for messages."""
    entry: FileEntry | ShardEntry


def inventory(manifest: Manifest) -> list[Item]:
    """Return every file of which the manifest knows the content."""
    return [
        *(Item("shard", shard) for split in manifest.splits.values() for shard in split.shards),
        *(Item("table of documents", unit.documents) for unit in manifest.units),
        *(Item("list of near-duplicate keys", unit.bands) for unit in manifest.units if unit.bands),
        *(Item("file", entry) for entry in manifest.extras),
    ]


def check_size(folder: Path, item: Item) -> None:
    """Compare a file's size on the disk with the manifest's.

    Raises:
        UserError: The file is missing, or shorter or longer than it was written.
    """
    path, said = folder / item.entry.file, item.entry.bytes
    if not path.is_file():
        raise UserError(f"{item.kind} {path} is missing; copy it here or prepare the shards again")
    size = path.stat().st_size
    if size != said:
        state = "truncated" if size < said else "altered"
        raise UserError(
            f"{item.kind} {path} is {state}: it has {size} bytes, the manifest says {said}; copy "
            "it anew or prepare the shards again"
        )


def check_content(folder: Path, item: Item) -> None:
    """Compare a file's size and sha256 with the manifest's.

    Raises:
        UserError: They differ.
    """
    check_size(folder, item)
    digest = file_sha256(folder / item.entry.file)
    if digest != item.entry.sha256:
        raise UserError(
            f"{item.kind} {folder / item.entry.file} was altered: its sha256 is {digest[:16]}..., "
            f"the manifest says {item.entry.sha256[:16]}...; copy it anew or prepare the shards "
            "again"
        )


def strangers(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield the names of what lies in the folder and belongs to nothing, in their order."""
    known = {MANIFEST, *(item.entry.file for item in inventory(manifest))}
    folders = {Path(name).parts[0] for name in known if "/" in name}
    for path in sorted(folder.iterdir()):
        if path.name not in known | folders:
            yield path.name
    for name in sorted(folders):
        for path in sorted((folder / name).glob("*")):
            if f"{name}/{path.name}" not in known:
                yield f"{name}/{path.name}"
