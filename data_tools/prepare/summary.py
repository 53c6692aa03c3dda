"""What a preparation prints at its end, and when it refuses an empty result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.shards.ledger import by_kind, total
from data_tools.sources.casualties import MOST, describe_all, find_first, read_lists
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import (
    ASIDE,
    EMPTY,
    FILTERED,
    KEPT,
    SET_ASIDE,
    STRUCTURE,
    Manifest,
    Split,
)
from gpt2zh.data.shard import TRAIN, VALIDATION
from gpt2zh.pages.numbers import percent


def check_not_empty(manifest: Manifest, lists: Sequence[Path]) -> None:
    """Refuse a result without a single row to train on.

    Args:
        manifest: Of the result.
        lists: Files that list the records set aside.

    Raises:
        UserError: The sources hold no text, or all of it was dropped.
    """
    if manifest.splits[TRAIN].rows:
        return
    fates = total(manifest.sources)
    documents = by_kind(fates)[KEPT].documents
    if not documents:
        filters = ", and the filters" if by_kind(fates)[FILTERED].documents else ""
        raise UserError(
            f"the corpus is empty: {len(manifest.sources)} files hold no document "
            f"({_left_out(manifest)}); check --input and --content-column{filters}"
            + describe_all(find_first(read_lists(lists)))
        )
    if manifest.splits[TRAIN].documents:
        raise UserError(
            f"--packing {manifest.packing} dropped all {documents} documents, because none "
            f"fills a row of {manifest.row_length} tokens; use --packing full or a smaller "
            "--row-length"
        )
    raise UserError(
        f"all {documents} documents fell into the validation split, and they are too short to "
        f"hold out parts of them (--validation-fraction is "
        f"{manifest.split_rule.validation_fraction}); give more text or set "
        "--validation-fraction 0"
    )


def show(manifest: Manifest, output: Path, *, seconds: float) -> None:
    """Print the summary of a preparation, and warnings if there are any."""
    _warn(manifest)
    _warn_of_losses(manifest, output)
    print(_summary(manifest, output, seconds=seconds))


def _warn(manifest: Manifest) -> None:
    """Warn on stderr about a result that is valid but probably not wanted."""
    fraction = manifest.split_rule.validation_fraction
    if fraction and not manifest.splits[VALIDATION].rows:
        print(
            f"warning: the validation split is empty, so there will be no validation loss: "
            f"{manifest.splits[TRAIN].tokens} tokens are too few to hold out a row of "
            f"{manifest.row_length}; give more text or a smaller --row-length",
            file=sys.stderr,
        )


def _warn_of_losses(manifest: Manifest, output: Path) -> None:
    """Warn on stderr if much was set aside, with the first fault of each reason."""
    share = _share_aside(manifest)
    if share > MOST:
        first = describe_all(find_first(read_lists([output / SET_ASIDE])))
        print(
            f"warning: {percent(share)} of the bytes were set aside; the first fault of each "
            f"reason:{first}",
            file=sys.stderr,
        )


def _share_aside(manifest: Manifest) -> float:
    """Return the share of the bytes that were read and set aside."""
    fates = by_kind(total(manifest.sources))
    return fates[ASIDE].bytes / max(sum(count.bytes for count in fates.values()), 1)


def _summary(manifest: Manifest, output: Path, *, seconds: float) -> str:
    """Return the summary of a preparation, and the next command."""
    splits = manifest.splits.values()
    tokens = sum(split.tokens for split in splits)
    characters = sum(split.characters for split in splits)
    read = sum(source.bytes for source in manifest.sources)
    written = sum(shard.bytes for split in splits for shard in split.shards)
    lines = [
        f"files       {len(manifest.sources)}, {read / 1e6:.1f} MB",
        f"documents   {sum(split.documents for split in splits)} ({_left_out(manifest)})",
        f"characters  {characters}",
        f"tokens      {tokens}, {tokens / max(characters, 1):.3f} per character "
        f"({manifest.tokenizer.name}, {manifest.tokenizer.vocab_size} ids)",
        *(_split_line(name, split, manifest) for name, split in manifest.splits.items()),
        *_notes(manifest, output),
        f"time        {seconds:.1f} s, {read / 1e6 / max(seconds, 1e-9):.1f} MB/s",
        f"output      {output}, {written / 1e6:.1f} MB",
        f"ledger      python -m data_tools report {output}",
        "next        deepspeed launcher/pretrain.py --config configs/gpt2-small.yaml "
        f"--data {output} --output runs/small --deepspeed_config ds_configs/zero1.json"
        + (f" --model.context {manifest.row_length}" if manifest.row_length != 512 else ""),
    ]
    return "\n".join(lines)


def _notes(manifest: Manifest, output: Path) -> Iterator[str]:
    """Yield the lines about what is unusual."""
    if blocks := manifest.split_rule.block_tokens:
        yield (
            f"held out    blocks of {blocks} tokens, because there are too few documents; a "
            "document that is cut counts once for each part"
        )
    if by_kind(total(manifest.sources))[ASIDE].documents:
        share = percent(_share_aside(manifest))
        yield f"set aside   {share} of the bytes; see {output / SET_ASIDE}"


def _split_line(name: str, split: Split, manifest: Manifest) -> str:
    """Return the line about the rows of a split."""
    text = (
        f"{name:<12}{split.rows} rows of {manifest.row_length} from {split.documents} documents, "
        f"{split.padding} tokens of padding"
    )
    if split.dropped_tokens:
        share = 100 * split.dropped_tokens / split.tokens
        text += (
            f"; dropped {split.dropped_tokens} tokens ({share:.1f} %), "
            f"{split.dropped_documents} documents whole"
        )
    return text


def _left_out(manifest: Manifest) -> str:
    """Count the dropped documents by fate; empty and set aside are always listed."""
    fates = total(manifest.sources)
    text = ""
    for name, count in by_kind(fates).items():
        if name in (KEPT, STRUCTURE) or not (count.documents or name in (EMPTY, ASIDE)):
            continue
        rules = ", ".join(
            f"{part.documents} {fate.removeprefix(name)}"
            for fate, part in fates.items()
            if fate != name and fate.startswith(name)
        )
        text += f"{count.documents} {name.removesuffix(': ')}" + (f": {rules}; " if rules else ", ")
    return text.rstrip(",; ")
