"""Draw conclusions from the counts: what is wrong, how serious it is, and what to do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.doctor.examine import Examination
from data_tools.doctor.forecast import SHORT, Forecast, Shares, characters_of, total
from data_tools.doctor.sample import FileSample, list_set_aside
from data_tools.sources.casualties import MOST, describe_all, find_first
from gpt2zh.pages.characters import character_kind, visible
from gpt2zh.pages.numbers import percent, plural
from gpt2zh.text.tokenizer import BUILTIN

LONG = 100_000
"""A document with more characters than this is called long."""

SERIOUS, MODERATE, MINOR = 3, 2, 1
"""Weights of a finding: the model gets worse; worth changing an option; good to know."""

_FEW_STEPS = 1000
_TRAIN_ONE = "train one on your own texts: python -m data_tools train-tokenizer"
_MUCH_FOR_CHINESE = 1.3  # tokens per character; a vocabulary of single hanzi needs 1


@dataclass(frozen=True)
class Finding:
    """A fault of the corpus or of the tokenizer, and what to do about it."""

    weight: int
    share: float
    """Share of the characters, documents or files that it concerns; orders equal weights."""
    text: str
    cure: str


@dataclass(frozen=True)
class Facts:
    """Everything that conclusions are drawn from."""

    samples: Sequence[FileSample]
    found: Examination
    shares: Shares
    forecast: Forecast
    tokenizer: str
    vocab_size: int
    is_wordpiece: bool
    row_length: int


def draw_conclusions(facts: Facts) -> list[Finding]:
    """Return all findings, the most serious first."""
    everything = [
        *_check_fidelity(facts),
        *_check_vocabulary(facts),
        *_check_files(facts),
        *_check_documents(facts),
        *_check_size(facts),
    ]
    return sorted(everything, key=lambda finding: (-finding.weight, -finding.share))


def lost_families(found: Examination) -> list[tuple[str, float]]:
    """Return the share of characters that is lost, by kind of character, the largest first."""
    families: defaultdict[str, float] = defaultdict(float)
    for character, share in lost_shares(found).items():
        families[character_kind(character)] += share
    return sorted(families.items(), key=lambda item: -item[1])


def lost_shares(found: Examination) -> dict[str, float]:
    """Return each lost character with its share of all characters, the largest first."""
    characters = max(total(found, characters_of), 1e-9)
    lost: defaultdict[str, float] = defaultdict(float)
    for group in found.groups:
        for character, count in group.lost.items():
            lost[character] += count * group.scale / characters
    return dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))


def _check_fidelity(facts: Facts) -> Iterator[Finding]:
    lost = facts.shares.lost
    repair = ["repair this vocabulary with --repair DIR"] if facts.is_wordpiece else []
    cure = ", or ".join([*_use_builtin(facts), *repair]) or _TRAIN_ONE
    if lost > 0:
        kinds = ", ".join(
            f"{name} {percent(share)}" for name, share in lost_families(facts.found)[:5]
        )
        yield Finding(
            SERIOUS if lost >= 0.001 else MODERATE,
            lost,
            f"{facts.tokenizer} cannot write back {percent(lost)} of the characters ({kinds}); "
            "a model trained with it cannot write them either",
            cure,
        )
    if facts.shares.added >= 1e-4:
        yield Finding(
            MODERATE,
            facts.shares.added,
            f"{facts.tokenizer} adds characters that the text does not have, mostly spaces: "
            f"{percent(facts.shares.added)} of the characters",
            cure,
        )


def _use_builtin(facts: Facts) -> list[str]:
    """Return the cure of another tokenizer; empty if this is the tokenizer in use."""
    return [] if facts.tokenizer == BUILTIN else [f"use --tokenizer {BUILTIN}"]


def _check_vocabulary(facts: Facts) -> Iterator[Finding]:
    rate = facts.shares.tokens_per_character
    if rate > _MUCH_FOR_CHINESE:
        yield Finding(
            SERIOUS,
            min(1.0, rate - 1),
            f"{facts.tokenizer} needs {rate:.2f} tokens per character: it was not made for this "
            "kind of text, and training takes longer by the same factor",
            ", or ".join([*_use_builtin(facts), _TRAIN_ONE]),
        )
    if facts.shares.spelled >= 0.01:
        top = " ".join(character for character, _ in facts.found.spelled.most_common(12))
        yield Finding(
            MODERATE,
            facts.shares.spelled,
            f"{percent(facts.shares.spelled)} of the characters are spelled in bytes, such as "
            f"{visible(top)}",
            _TRAIN_ONE,
        )
    if facts.vocab_size > 65535:
        yield Finding(
            MINOR,
            1.0,
            f"{facts.vocab_size} ids need four bytes per token on the disk instead of two",
            "use a vocabulary of at most 65535 ids to need only two",
        )


def _check_files(facts: Facts) -> Iterator[Finding]:
    encodings = Counter(map(_encoding, facts.samples))
    if len(encodings) > 1:
        usual, _ = encodings.most_common(1)[0]
        odd = [sample for sample in facts.samples if _encoding(sample) != usual]
        first = odd[0].source
        are = "is" if len(odd) == 1 else "are"
        yield Finding(
            MODERATE,
            len(odd) / len(facts.samples),
            f"{len(odd)} of {plural(len(facts.samples), 'file')} {are} not {usual} like the "
            f"others; the first "
            f"is {first.path.as_posix()} ({first.encoding}): {_quote_beginning(odd[0])}",
            "if this text is readable, do nothing; if not, prepare these files alone and set "
            "--encoding",
        )
    reasons: Counter[str] = Counter()
    for group in facts.found.groups:
        reasons.update(group.set_aside)
    if reasons:
        share = _share_aside(facts.samples)
        kinds = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        places = describe_all(find_first(list_set_aside(facts.samples)))
        yield Finding(
            SERIOUS if share > MOST else MINOR,
            share,
            f"{percent(share)} of the bytes cannot be read and are set aside: {kinds}; the first "
            f"of each:{places}",
            "correct the files, or continue: prepare lists every record that it sets aside",
        )
    if facts.shares.damaged >= 0.001 and facts.found.damage:
        place, excerpt = facts.found.damage
        yield Finding(
            SERIOUS if facts.shares.damaged >= 0.05 else MODERATE,
            facts.shares.damaged,
            f"{percent(facts.shares.damaged)} of the documents were decoded wrongly by an "
            f"earlier program, such as {place}: {excerpt}",
            "get these texts from their source again; no option can restore them",
        )


def _check_documents(facts: Facts) -> Iterator[Finding]:
    copies = facts.shares.copies
    if copies >= 0.005 and facts.found.repeated:
        count, beginning = facts.found.repeated
        yield Finding(
            MODERATE if copies >= 0.05 else MINOR,
            copies,
            f"{percent(copies)} of the documents in the sample equal an earlier one, {count} are "
            f"'{beginning}'; in the whole corpus the share is higher",
            "prepare drops exact copies; --near-duplicates drop also finds near copies",
        )
    if facts.shares.short >= 0.05:
        yield Finding(
            MODERATE if facts.shares.short >= 0.3 else MINOR,
            facts.shares.short,
            f"{percent(facts.shares.short)} of the documents have fewer than {SHORT} characters",
            f"--min-characters {SHORT} drops them",
        )
    lengths = [part for group in facts.found.groups for part in group.characters]
    long = int(sum((part > LONG).sum() for part in lengths))
    if long:
        longest = int(max(part.max() for part in lengths))
        yield Finding(
            MINOR,
            long / max(sum(map(len, lengths)), 1),
            f"documents of more than {LONG} characters in the sample: {long}, the longest "
            f"{longest}; the model sees at most {facts.row_length} tokens at a time, in shuffled "
            "rows",
            "do nothing for books; if these are whole collections, put each text in its own record",
        )
    empty = sum(group.empty for group in facts.found.groups)
    share = empty / max(empty + sum(map(len, lengths)), 1)
    if share >= 0.01:
        yield Finding(
            MINOR, share, f"{percent(share)} of the records are empty", "prepare skips them"
        )


def _check_size(facts: Facts) -> Iterator[Finding]:
    expected = facts.forecast
    if expected.steps < _FEW_STEPS:
        yield Finding(
            MODERATE if expected.steps < _FEW_STEPS / 10 else MINOR,
            0.0,
            f"about {plural(expected.rows, 'row')} make only {plural(expected.steps, 'step')} per "
            f"epoch with configs/{expected.config}.yaml, whose global batch is "
            f"{plural(expected.global_batch, 'row')}",
            "train more epochs (--train.epochs) or reduce --train.global_batch",
        )


def _encoding(sample: FileSample) -> str:
    """Return the encoding of a file, with or without byte order mark."""
    return sample.source.encoding.removesuffix("-sig")


def _quote_beginning(sample: FileSample) -> str:
    for block in sample.blocks:
        if len(block):
            return visible(block.text(0)[:24])
    return "(no text)"


def _share_aside(samples: Sequence[FileSample]) -> float:
    """Return the share of the bytes of the samples that were set aside."""
    blocks = [block for sample in samples for block in sample.blocks]
    aside = sum(item.size for block in blocks for item in block.set_aside)
    other = sum(int(block.sizes.sum()) + block.overhead for block in blocks)
    return aside / max(aside + other, 1)


def percentiles(parts: Sequence[np.ndarray], ranks: Sequence[float]) -> list[int]:
    """Return percentiles of the values in several arrays; zeros if there are no values."""
    whole = np.concatenate([np.zeros(0, np.int64), *parts])
    return [int(value) for value in np.percentile(whole, ranks)] if len(whole) else [0] * len(ranks)
