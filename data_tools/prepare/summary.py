"""What a preparation prints at its end, and when it refuses an empty result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.shards.ledger import by_kind, total
from data_tools.sources.casualties import MOST, OF_ENCODING, describe_all, find_first, read_lists
from data_tools.sources.source import LONGEST_RECORD
from gpt2zh.config.errors import UserError, printable
from gpt2zh.data.manifest import (
    ASIDE,
    EMPTY,
    FILTERED,
    KEPT,
    NEAR,
    SET_ASIDE,
    STRUCTURE,
    Manifest,
    Split,
)
from gpt2zh.data.shard import TRAIN, VALIDATION
from gpt2zh.pages.console import command
from gpt2zh.pages.numbers import percent, plural
from gpt2zh.plan.advise import advise
from gpt2zh.plan.machine import Machine, find_machine


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
            f"the corpus is empty: {plural(len(manifest.sources), 'file')} without a document "
            f"({_left_out(manifest)}); check --input and --content-column{filters}"
            + describe_all(find_first(read_lists(lists)))
        )
    if manifest.splits[TRAIN].documents:
        raise UserError(
            f"--packing {manifest.packing} dropped {_every(documents)}, because none fills a row "
            f"of {manifest.row_length} tokens; use --packing full or a smaller --row-length"
        )
    raise UserError(
        f"{_every(documents)} fell into the validation split, with no blocks of text left for "
        f"training (--validation-fraction is {manifest.split_rule.validation_fraction}); give more "
        "text or set --validation-fraction 0"
    )


def _every(documents: int) -> str:
    return f"all {plural(documents, 'document', show=str)}" if documents > 1 else "the one document"


def show(
    manifest: Manifest, output: Path, *, seconds: float, machine: Machine | None = None
) -> None:
    """Print the summary of a preparation, and warnings if there are any.

    Args:
        manifest: Of the shards.
        output: Their folder.
        seconds: What the preparation took.
        machine: Where the next command runs; by default this machine.
    """
    _warn(manifest)
    _warn_of_losses(manifest, output)
    lines = _summary(manifest, output, seconds=seconds)
    lines = [*lines, *_next(manifest, output, machine or find_machine())]
    print(printable("\n".join(lines)))


def _warn(manifest: Manifest) -> None:
    """Warn on stderr about a result that is valid but probably not wanted."""
    fraction = manifest.split_rule.validation_fraction
    if not fraction or manifest.splits[VALIDATION].rows:
        return
    train = manifest.splits[TRAIN]
    if _keeps_copies(manifest) and min(train.rows, train.documents) > 1:
        why = (
            "no text that fills a row could be held out without a copy, or nearly one, in the "
            "training split; drop copies with --exact-duplicates drop --near-duplicates drop, or "
            "give more text"
        )
    else:
        why = (
            f"{plural(train.tokens, 'token is', 'tokens are', show=str)} too few to hold out a row "
            f"of {manifest.row_length}; give more text or a smaller --row-length"
        )
    print(
        f"warning: the validation split is empty, so there will be no validation loss: {why}",
        file=sys.stderr,
    )


def _keeps_copies(manifest: Manifest) -> bool:
    """Return whether copies of training text stay, because of which other text is not held out."""
    options = manifest.options
    return (
        options.get("near_duplicates") == "validation" or options.get("exact_duplicates") == "keep"
    )


def _warn_of_losses(manifest: Manifest, output: Path) -> None:
    """Warn on stderr if much was set aside, with the first fault of each reason.

    Also warn of the little that an option or a conversion would save.
    """
    share = _share_aside(manifest)
    reasons = {fate.removeprefix(ASIDE) for fate in total(manifest.sources)}
    if share <= MOST and reasons.isdisjoint(OF_ENCODING):
        return
    first = find_first(read_lists([output / SET_ASIDE]))
    if share <= MOST:
        first = [casualty for casualty in first if casualty.first.reason in OF_ENCODING]
    print(
        f"warning: {percent(share)} of the bytes were set aside; the first fault of each "
        f"reason:{describe_all(first)}",
        file=sys.stderr,
    )


def _share_aside(manifest: Manifest) -> float:
    """Return the share of the bytes that were read and set aside."""
    fates = by_kind(total(manifest.sources))
    return fates[ASIDE].bytes / max(sum(count.bytes for count in fates.values()), 1)


def _summary(manifest: Manifest, output: Path, *, seconds: float) -> list[str]:
    """Return the lines of the summary of a preparation."""
    splits = manifest.splits.values()
    tokens = sum(split.tokens for split in splits)
    characters = sum(split.characters for split in splits)
    read = sum(source.bytes for source in manifest.sources)
    written = sum(shard.bytes for split in splits for shard in split.shards)
    return [
        f"files       {len(manifest.sources)}, {read / 1e6:.1f} MB",
        f"documents   {sum(split.documents for split in splits)} ({_left_out(manifest)})",
        f"characters  {characters}",
        f"tokens      {tokens}, {tokens / max(characters, 1):.3f} per character "
        f"({manifest.tokenizer.name}, {manifest.tokenizer.vocab_size} ids)",
        *(_split_line(name, split, manifest) for name, split in manifest.splits.items()),
        *_notes(manifest, output),
        f"time        {seconds:.1f} s, {read / 1e6 / max(seconds, 1e-9):.1f} MB/s",
        f"output      {output}, {written / 1e6:.1f} MB",
        f"ledger      {command('python', '-m', 'data_tools', 'report', output)}",
    ]


def _next(manifest: Manifest, output: Path, machine: Machine) -> list[str]:
    """Return the command that trains on the shards here, and how long it takes."""
    rows, row_length = manifest.splits[TRAIN].rows, manifest.row_length
    advice = advise(rows, machine, row_length=row_length, tokens=manifest.tokenizer.vocab_size)
    name = advice.config.name
    line = command(
        *("deepspeed", "launcher/pretrain.py", "--config", advice.config.file),
        *("--data", output, "--output", f"runs/{name.removeprefix('gpt2-')}"),
        *("--deepspeed_config", "ds_configs/zero1.json", *advice.options),
    )
    return [f"next        {line}", f"            {advice.text}"]


def _notes(manifest: Manifest, output: Path) -> Iterator[str]:
    """Yield the lines about what is unusual."""
    if blocks := manifest.split_rule.block_tokens:
        drops_held_out = manifest.options.get("near_duplicates") == "validation"
        is_dropped = drops_held_out and by_kind(total(manifest.sources))[NEAR].documents
        why = (
            "the held-out documents were near copies"
            if is_dropped
            else "there are too few documents"
        )
        yield (
            f"held out    blocks of {blocks} tokens, because {why}; a document that is cut counts "
            "once for each part"
        )
    if long := _count_long_texts(manifest):
        yield (
            f"long text   {plural(long, 'file')} of more than {LONGEST_RECORD / 1e6:.0f} MB: a "
            "document is a block between blank lines, or a line where there are none "
            "(--text-documents)"
        )
    if by_kind(total(manifest.sources))[ASIDE].documents:
        share = percent(_share_aside(manifest))
        yield f"set aside   {share} of the bytes; see {output / SET_ASIDE}"


def _count_long_texts(manifest: Manifest) -> int:
    """Return how many text files were too long for one document."""
    if manifest.options.get("text_documents") != "file":
        return 0
    texts = (source for source in manifest.sources if source.format == "text")
    return sum(source.read > LONGEST_RECORD for source in texts)


def _split_line(name: str, split: Split, manifest: Manifest) -> str:
    """Return the line about the rows of a split."""
    text = (
        f"{name:<12}{plural(split.rows, 'row', show=str)} of {manifest.row_length} from "
        f"{plural(split.documents, 'document', show=str)}, "
        f"{plural(split.padding, 'token', show=str)} of padding"
    )
    if split.dropped_tokens:
        share = 100 * split.dropped_tokens / split.tokens
        text += (
            f"; dropped {plural(split.dropped_tokens, 'token', show=str)} ({share:.1f} %), "
            f"{plural(split.dropped_documents, 'document', show=str)} whole"
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
