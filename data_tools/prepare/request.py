"""What was asked for, held against what is there, before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from data_tools.clean.options import clean_faults
from data_tools.config import PrepareConfig
from data_tools.prepare.plan import defining_options, option_differences
from data_tools.sources.cut import Slice
from data_tools.sources.find import SourceFile
from data_tools.sources.read import slice_digest
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.data.manifest import MANIFEST, Manifest, Source, read_manifest
from gpt2zh.data.packing import SMALLEST_ROW
from gpt2zh.text.id_type import token_dtype
from gpt2zh.text.tokenizer import TextTokenizer


def check_options(config: PrepareConfig) -> None:
    """Check what needs no file.

    Raises:
        UserError: Options are out of their range; all of them are named.
    """
    faults = []
    if config.row_length < SMALLEST_ROW:
        faults.append(
            f"--row-length {config.row_length} is too short; give at least {SMALLEST_ROW} tokens "
            "(512 is usual)"
        )
    if not 0 <= config.validation_fraction < 1:
        faults.append(
            f"--validation-fraction {config.validation_fraction} is no share; give a number from 0 "
            "to below 1, such as 0.005"
        )
    if config.shard_rows < 1:
        faults.append(f"--shard-rows {config.shard_rows} is too few; give at least 1 row")
    if config.unit_bytes < 1:
        faults.append(f"--unit-bytes {config.unit_bytes} is too few; 32000000 is usual")
    if config.workers < 0:
        faults.append(f"--workers {config.workers} is no number of processes; 0 takes all cores")
    if (config.part or config.parts != 1) and not 1 <= config.part <= config.parts:
        faults.append(
            f"--part {config.part} --parts {config.parts} do not go together; give a part from 1 "
            "to the number of parts"
        )
    if config.restart and config.part:
        faults.append(
            "--restart with --part would discard the other parts too; remove OUTPUT.partial once, "
            "then prepare the parts without --restart"
        )
    if config.append and config.overwrite:
        faults.append("--append and --overwrite exclude each other; leave one out")
    if not config.input:
        faults.append("--input names nothing; give a quoted glob such as 'corpus/**/*.csv'")
    raise_all(faults + clean_faults(config), "the options")


def find_base(config: PrepareConfig) -> Manifest | None:
    """Look at what stands where the output shall be, and return what is appended to.

    Raises:
        UserError: The output is no folder of shards.
    """
    output = config.output
    if output.is_mount():
        raise UserError(f"output {output} is a mount point; name a folder in it")
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file; name a folder that does not exist yet")
    if config.append:
        if not (output / MANIFEST).is_file():
            raise UserError(f"--append adds to shards, but {output} holds none; leave it out")
        return read_manifest(output)
    taken = output.exists() and any(output.iterdir())
    if config.overwrite and taken and not (output / MANIFEST).is_file():
        raise UserError(
            f"output {output} is no folder of shards (no {MANIFEST}), so --overwrite does not "
            "touch it; name another folder"
        )
    return None


def is_complete(
    config: PrepareConfig, sources: Sequence[SourceFile], tokenizer: TextTokenizer
) -> bool:
    """Tell whether just this is prepared already.

    Raises:
        UserError: The output is taken by something else.
    """
    output = config.output
    if config.append or not output.exists() or not any(output.iterdir()):
        return False
    if (output / MANIFEST).is_file():
        manifest = read_manifest(output)
        same_options = manifest.options == defining_options(config, tokenizer)
        if same_options and not _changes(manifest, sources):
            print(f"{output} is complete: the same files with the same options; nothing to do")
            return True
    if config.overwrite:
        return False
    raise UserError(
        f"output {output} exists already; name another folder, remove it, or, where it holds "
        "shards, replace it with --overwrite or add new files with --append"
    )


def _changes(manifest: Manifest, sources: Sequence[SourceFile]) -> list[str]:
    """Say what distinguishes the sources of a manifest from these."""
    known = {source.path: source for source in manifest.sources}
    given = {source.path.as_posix(): source for source in sources}
    lines = [f"{path} is missing" for path in known.keys() - given.keys()]
    lines += [f"{path} is new" for path in given.keys() - known.keys()]
    lines += [f"{p} changed" for p in known.keys() & given.keys() if _differs(known[p], given[p])]
    return lines


def _differs(known: Source, source: SourceFile) -> bool:
    """Compare a file with what was read of it, to the last byte."""
    return known.bytes != source.bytes or any(
        slice_digest(source, Slice(extent.begin, extent.end, extent.line)) != extent.digest
        for extent in known.extents
    )


def new_sources(base: Manifest, sources: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the sources that the shards do not hold yet.

    Raises:
        UserError: One that they hold is not what it was.
    """
    known = {source.path: source for source in base.sources}
    changed = [
        f"{source.path} is in the shards already, but its content changed since; prepare "
        "everything again with --overwrite"
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
    """Tell whether a file is one that the shards hold, by another name."""
    same = (old for old in known if not _differs(old, source) and source.bytes)
    for old in same:
        print(f"{source.path} is the same as {old.path}, which the shards hold; it is left out")
        return True
    return False


def check_same_options(base: Manifest, config: PrepareConfig, tokenizer: TextTokenizer) -> None:
    """Compare the options with those of the shards that are appended to.

    Raises:
        UserError: They differ.
    """
    lines = option_differences(base.options, defining_options(config, tokenizer))
    if lines:
        raise UserError(
            f"--append needs the options that {config.output} was made with, but "
            + "; ".join(lines)
            + "; give them as they were, or prepare everything again with --overwrite"
        )


def check_space(output: Path, sources: Sequence[SourceFile], tokenizer: TextTokenizer) -> None:
    """Compare the free space with an estimate of the output: one token for 3 bytes of text.

    Raises:
        UserError: It will not fit.
    """
    size = sum(source.bytes * (3 if source.compression else 1) for source in sources)
    needed = size * token_dtype(tokenizer.vocab_size).itemsize // 3
    parent = next(folder for folder in output.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(
            f"output {output} needs about {needed / 1e9:.2f} GB, its disk has {free / 1e9:.2f} GB "
            "free; free some space or choose an output folder on another disk"
        )
