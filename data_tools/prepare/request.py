"""Validate a request against the existing files, before anything is written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from data_tools.clean.options import clean_faults
from data_tools.config import PrepareConfig
from data_tools.prepare.differences import option_differences
from data_tools.prepare.plan import defining_options
from data_tools.shards.output import check_folder, check_output, holds_shards
from data_tools.sources.cut import Slice
from data_tools.sources.find import SourceFile
from data_tools.sources.read import slice_digest
from gpt2zh.config.errors import UserError, printable, raise_all
from gpt2zh.data.manifest import Manifest, Source, read_manifest
from gpt2zh.data.packing import SMALLEST_ROW
from gpt2zh.text.id_type import token_dtype
from gpt2zh.text.tokenizer import TextTokenizer


def check_options(config: PrepareConfig) -> None:
    """Check the options by themselves.

    Raises:
        UserError: Options are out of range; the message lists all of them.
    """
    faults = []
    if config.row_length < SMALLEST_ROW:
        faults.append(
            f"--row-length {config.row_length} is too short; use at least {SMALLEST_ROW} tokens "
            "(512 is usual)"
        )
    if not 0 <= config.validation_fraction < 1:
        faults.append(
            f"--validation-fraction {config.validation_fraction} is not a valid share; use a "
            "number from 0 to below 1, such as 0.005"
        )
    if config.shard_rows < 1:
        faults.append(f"--shard-rows {config.shard_rows} is too small; use at least 1")
    if config.unit_bytes < 1:
        faults.append(
            f"--unit-bytes {config.unit_bytes} is too small; use at least 1, usually 32000000"
        )
    faults += worker_faults(config.workers)
    if (config.part or config.parts != 1) and not 1 <= config.part <= config.parts:
        faults.append(
            f"--part {config.part} --parts {config.parts} do not go together; use a part from 1 to "
            "the number of parts"
        )
    if config.restart and config.part:
        faults.append(
            "--restart with --part would also discard the other parts; remove OUTPUT.partial once, "
            "then prepare the parts without --restart"
        )
    if config.restart and config.drop_changed:
        faults.append(
            "--restart and --drop-changed exclude each other: a new start has nothing to drop; "
            "remove one of them"
        )
    if config.append and config.overwrite:
        faults.append("--append and --overwrite exclude each other; remove one of them")
    if not config.input:
        faults.append("--input names no files; give a quoted glob such as 'corpus/**/*.csv'")
    raise_all(faults + clean_faults(config), "the options")


def worker_faults(workers: int) -> list[str]:
    """Return what is wrong with a number of processes."""
    if workers >= 0:
        return []
    return [f"--workers {workers} is not a valid number of processes; use 0 for all cores"]


def warn_of_cost(config: PrepareConfig) -> None:
    """Warn on stderr of options with which the work takes far longer."""
    if config.language:
        print(
            f"warning: --language {config.language} reads each document with a slow detector, so "
            "the preparation takes about five times as long; to drop texts that are not Chinese, "
            "--min-han 0.7 costs next to nothing",
            file=sys.stderr,
        )


def find_base(config: PrepareConfig) -> Manifest | None:
    """Check the output, and return the manifest of the shards to append to.

    Raises:
        UserError: The output cannot be written, or holds no shards to append to.
    """
    if config.append:
        check_folder(config.output)
        if not holds_shards(config.output):
            raise UserError(f"--append adds to shards, but {config.output} has none; leave it out")
        return read_manifest(config.output)
    if not holds_shards(config.output):  # else `is_complete` looks first whether they are the same
        check_output(config.output, overwrite=config.overwrite)
    return None


def is_complete(
    config: PrepareConfig, sources: Sequence[SourceFile], tokenizer: TextTokenizer
) -> bool:
    """Return whether the output already holds the shards of this very request."""
    if config.append or not holds_shards(config.output):
        return False
    manifest = read_manifest(config.output)
    same_options = manifest.options == defining_options(config, tokenizer)
    return same_options and not _changes(manifest, sources)


def _changes(manifest: Manifest, sources: Sequence[SourceFile]) -> list[str]:
    """Return what distinguishes the sources of a manifest from these, one line each."""
    known = {source.path: source for source in manifest.sources}
    given = {source.path.as_posix(): source for source in sources}
    lines = [f"{path} is missing" for path in known.keys() - given.keys()]
    lines += [f"{path} is new" for path in given.keys() - known.keys()]
    lines += [f"{p} changed" for p in known.keys() & given.keys() if _differs(known[p], given[p])]
    return lines


def _differs(known: Source, source: SourceFile) -> bool:
    """Return whether a file differs from what was read of it, in any byte."""
    return known.bytes != source.bytes or any(
        slice_digest(source, Slice(extent.begin, extent.end, extent.line)) != extent.digest
        for extent in known.extents
    )


def new_sources(base: Manifest, sources: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the sources that are not in the shards yet.

    Raises:
        UserError: One that is in the shards has changed.
    """
    known = {source.path: source for source in base.sources}
    changed = [
        f"{source.path} is already in the shards, but its content has changed; prepare everything "
        "again with --overwrite"
        for source in sources
        if source.path.as_posix() in known and _differs(known[source.path.as_posix()], source)
    ]
    raise_all(changed, "--append")
    return [
        source
        for source in sources
        if source.path.as_posix() not in known and not _is_copy(source, base.sources)
    ]


def _is_copy(source: SourceFile, known: Sequence[Source]) -> bool:
    """Return whether the shards hold the same file under another name."""
    same = (old for old in known if not _differs(old, source) and source.bytes)
    for old in same:
        same_as = f"{source.path} is the same as {old.path}, which is in the shards already"
        print(printable(f"{same_as}; skipping it"))
        return True
    return False


def check_same_options(base: Manifest, config: PrepareConfig, tokenizer: TextTokenizer) -> None:
    """Compare the options with those of the shards to append to.

    Raises:
        UserError: They differ.
    """
    names = base.tokenizer.name, tokenizer.name
    options = defining_options(config, tokenizer)
    lines = option_differences(base.options, options, tokenizers=names)
    if lines:
        raise UserError(
            f"--append needs the options that {config.output} was made with, but "
            + "; ".join(lines)
            + "; use the same options, or prepare everything again with --overwrite"
        )


def check_space(
    output: Path,
    sources: Sequence[SourceFile],
    tokenizer: TextTokenizer,
    *,
    keeps_texts: bool = False,
) -> None:
    """Compare the free space with an estimate of the output: one token per 3 bytes of text.

    Args:
        output: The folder.
        sources: The input.
        tokenizer: Decides the bytes of a token.
        keeps_texts: Near duplicates are compared, for which the texts are kept until the end.

    Raises:
        UserError: The output will not fit.
    """
    size = sum(source.bytes * (3 if source.compression else 1) for source in sources)
    needed = size * token_dtype(tokenizer.vocab_size).itemsize // 3
    if keeps_texts:
        needed += size
    parent = next(folder for folder in output.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(
            f"output {output} needs about {needed / 1e9:.2f} GB, but its disk has {free / 1e9:.2f} "
            "GB free; free some space or choose an output folder on another disk"
        )
