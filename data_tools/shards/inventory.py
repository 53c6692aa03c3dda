"""List the files of a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.shards.near_table import is_near_table
from gpt2zh.data.manifest import MANIFEST, FileEntry, Manifest, ShardEntry


@dataclass(frozen=True)
class Item:
    """A file whose content is recorded in the manifest."""

    kind: str
    """What it is, for messages."""
    entry: FileEntry | ShardEntry


def list_files(manifest: Manifest) -> list[Item]:
    """Return every file whose content is recorded in the manifest."""
    return [
        *(Item("shard", shard) for split in manifest.splits.values() for shard in split.shards),
        *(Item("table of documents", unit.documents) for unit in manifest.units),
        *(
            Item("list of near-duplicate signatures", unit.bands)
            for unit in manifest.units
            if unit.bands
        ),
        *(
            Item("table of near duplicates" if is_near_table(entry.file) else "file", entry)
            for entry in manifest.extras
        ),
    ]


def find_strangers(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield the sorted names in the folder that the manifest does not mention."""
    known = {MANIFEST, *(item.entry.file for item in list_files(manifest))}
    folders = {Path(name).parts[0] for name in known if "/" in name}
    for path in sorted(folder.iterdir()):
        if path.name not in known | folders:
            yield path.name
    for name in sorted(folders):
        for path in sorted((folder / name).glob("*")):
            if f"{name}/{path.name}" not in known:
                yield f"{name}/{path.name}"
