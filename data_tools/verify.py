"""`verify`: check that a folder of shards is still what was written."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from data_tools.config import VerifyConfig
from data_tools.shards.inventory import Item, find_strangers, list_files
from data_tools.shards.ledger import ledger_faults
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.data.manifest import Manifest, read_manifest
from gpt2zh.files.checksum import check_content
from gpt2zh.pages.characters import visible
from gpt2zh.pages.console import Progress
from gpt2zh.pages.numbers import plural
from gpt2zh.pages.numbers import size as size_text

_READERS = 4  # files that are read at once, at most


def run(config: VerifyConfig) -> None:
    """Check every file in the manifest, and report all faults at once.

    Raises:
        UserError: A file is missing or changed.
    """
    folder = config.shards
    manifest = read_manifest(folder)  # compares the fingerprint
    items = list_files(manifest)
    faults: list[str] = []
    faults += (
        f"the ledger in {folder / 'manifest.json'} does not sum up: {fault}; restore it or "
        "prepare the shards again"
        for fault in ledger_faults(manifest)
    )
    faults += _content_faults(folder, items)
    _warn_of_strangers(folder, manifest)
    raise_all(faults, str(folder))
    size = sum(item.entry.bytes for item in items)
    shards = sum(item.kind == "shard" for item in items)
    print(
        f"{folder}: {plural(shards, 'shard')} and {plural(len(items) - shards, 'other file')}, "
        f"{size_text(size)}, all unchanged\n"
        f"fingerprint {manifest.fingerprint}"
    )


def _content_faults(folder: Path, items: Sequence[Item]) -> list[str]:
    """Read every file, several at a time, and return the faults in the order of the files."""
    progress = Progress("verifying", sum(item.entry.bytes for item in items))
    faults: dict[int, list[str]] = {}
    done = 0
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as pool:
        work = {}
        for number, item in enumerate(items):
            found = faults.setdefault(number, [])
            check = partial(check_content, folder, item.entry, kind=item.kind)
            work[pool.submit(attempt, check, found)] = item
        for future in as_completed(work):
            future.result()
            done += work[future].entry.bytes
            progress.show(done)
    progress.close()
    return [fault for number in sorted(faults) for fault in faults[number]]


def _warn_of_strangers(folder: Path, manifest: Manifest) -> None:
    names = [visible(name) for name in find_strangers(folder, manifest)]
    if not names:
        return
    some = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    partial = folder.with_name(f"{folder.name}.partial")
    cure = (
        f"{partial} shows that an --append was interrupted: run that command again"
        if partial.exists()
        else "remove what you did not put there; gpt2zh does not read it"
    )
    print(
        f"warning: {folder} holds files that are not in the manifest: {some}; {cure}",
        file=sys.stderr,
    )
