"""`verify`: is a folder of shards still what was written?"""

from __future__ import annotations

from pathlib import Path

from data_tools.config import VerifyConfig
from data_tools.progress import Progress
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.data.manifest import TOKENIZER_DIR, read_manifest
from gpt2zh.data.shard import verify_shard
from gpt2zh.text.tokenizer import load_tokenizer


def run(config: VerifyConfig) -> None:
    """Check every shard and the tokenizer, and report all faults at once."""
    manifest = read_manifest(config.shards)
    entries = [entry for split in manifest.splits.values() for entry in split.shards]
    faults = []
    try:
        check_tokenizer(config.shards / TOKENIZER_DIR, manifest.tokenizer.hash)
    except UserError as error:
        faults.append(str(error))
    size = sum(entry.bytes for entry in entries)
    progress = Progress("verifying", size)
    done = 0
    for entry in entries:
        try:
            verify_shard(config.shards, entry)
        except UserError as error:
            faults.append(str(error))
        done += entry.bytes
        progress.show(done)
    progress.close()
    raise_all(faults, str(config.shards))
    print(f"{config.shards}: {len(entries)} shards, {size / 1e6:.1f} MB, all as they were written")


def check_tokenizer(folder: Path, said: str) -> None:
    """Compare the tokenizer beside the shards with the one that made them.

    Raises:
        UserError: It is another one, or damaged.
    """
    found = load_tokenizer(folder).hash
    if found != said:
        raise UserError(
            f"tokenizer {folder} was altered: its hash is {found[:16]}..., the manifest says "
            f"{said[:16]}...; prepare the shards again"
        )
