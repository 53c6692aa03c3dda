"""What a preparation tells the user at its end."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import SET_ASIDE, Manifest, Split
from gpt2zh.data.shard import TRAIN, VALIDATION


def check_not_empty(manifest: Manifest) -> None:
    """Refuse a result without a single row to train on.

    Raises:
        UserError: The sources hold no text, or the packing dropped all of it.
    """
    if manifest.splits[TRAIN].rows:
        return
    documents = sum(source.documents for source in manifest.sources)
    if not documents:
        raise UserError(
            f"the corpus is empty: {len(manifest.sources)} files hold no document "
            f"({_left_out(manifest)}); check --input and --content-column"
        )
    if manifest.splits[TRAIN].documents:
        raise UserError(
            f"--packing {manifest.packing} dropped all of the {documents} documents, since none "
            f"fills a row of {manifest.row_length} tokens; use --packing full or a smaller "
            "--row-length"
        )
    raise UserError(
        f"all of the {documents} documents fell into the validation split; lower "
        f"--validation-fraction (now {manifest.split_rule.validation_fraction}) or give more text"
    )


def warn(manifest: Manifest) -> None:
    """Say on stderr what works but is probably not wanted."""
    fraction = manifest.split_rule.validation_fraction
    if fraction and not manifest.splits[VALIDATION].rows:
        documents = manifest.splits[TRAIN].documents
        better = min(0.5, max(2 * fraction, 5 / max(documents, 1)))
        print(
            f"warning: the validation split is empty, no row came of {documents} documents at a "
            f"fraction of {fraction}; for a validation loss prepare again with "
            f"--validation-fraction {better:.2g} --overwrite",
            file=sys.stderr,
        )


def summary(manifest: Manifest, output: Path, *, seconds: float) -> str:
    """Return the account of a preparation, and what to type next."""
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
        *([f"set aside   see {output / SET_ASIDE}"] if _set_aside(manifest) else []),
        f"time        {seconds:.1f} s, {read / 1e6 / max(seconds, 1e-9):.1f} MB/s",
        f"output      {output}, {written / 1e6:.1f} MB",
        "next        deepspeed launcher/pretrain.py --config configs/gpt2-small.yaml "
        f"--data {output} --output runs/small --deepspeed_config ds_configs/zero1.json"
        + (f" --model.context {manifest.row_length}" if manifest.row_length != 512 else ""),
    ]
    return "\n".join(lines)


def _split_line(name: str, split: Split, manifest: Manifest) -> str:
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


def _set_aside(manifest: Manifest) -> Counter[str]:
    """Return how many rows of all sources were set aside, by reason."""
    reasons = Counter[str]()
    for source in manifest.sources:
        reasons.update(source.set_aside)
    return reasons


def _left_out(manifest: Manifest) -> str:
    reasons = _set_aside(manifest)
    text = f"{sum(source.empty for source in manifest.sources)} empty, {reasons.total()} set aside"
    if reasons:
        text += ": " + ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return text
