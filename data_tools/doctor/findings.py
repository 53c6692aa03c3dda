"""What is wrong, the weightiest first, each with its cure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.doctor.examine import Examination
from data_tools.doctor.forecast import SHORT, Forecast, Shares, characters_of, documents_of, total
from data_tools.doctor.sample import FileSample
from gpt2zh.pages.characters import character_kind, visible
from gpt2zh.pages.numbers import percent

LONG = 100_000
"""Characters above which a document is called long."""

SERIOUS, MEND, NOTE = 3, 2, 1
"""How much a finding weighs: the model suffers; worth an option; good to know."""

_FEW_STEPS = 1000
_MUCH_FOR_CHINESE = 1.3  # tokens per character; a vocabulary of single hanzi needs 1


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    weight: int
    share: float
    """Of the characters, documents or files, whichever it is about; orders equal weights."""
    text: str
    cure: str


@dataclass(frozen=True)
class Facts:
    """All that is known when conclusions are drawn."""

    samples: Sequence[FileSample]
    found: Examination
    shares: Shares
    forecast: Forecast
    tokenizer: str
    vocab_size: int
    is_wordpiece: bool
    row_length: int


def findings(facts: Facts) -> list[Finding]:
    """Draw the conclusions, the weightiest first."""
    everything = [
        *_about_fidelity(facts),
        *_about_vocabulary(facts),
        *_about_files(facts),
        *_about_documents(facts),
        *_about_size(facts),
    ]
    return sorted(everything, key=lambda finding: (-finding.weight, -finding.share))


def lost_families(found: Examination) -> list[tuple[str, float]]:
    """Return what share of all characters is lost by kind of character, the largest first."""
    families: defaultdict[str, float] = defaultdict(float)
    for sign, share in lost_shares(found).items():
        families[character_kind(sign)] += share
    return sorted(families.items(), key=lambda item: -item[1])


def lost_shares(found: Examination) -> dict[str, float]:
    """Return what share of all characters each lost one is, the largest first."""
    characters = max(total(found, characters_of), 1e-9)
    lost: defaultdict[str, float] = defaultdict(float)
    for group in found.groups:
        for sign, count in group.lost.items():
            lost[sign] += count * group.scale / characters
    return dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))


def _about_fidelity(facts: Facts) -> Iterator[Finding]:
    lost = facts.shares.lost
    repair = ", or repair this vocabulary with --repair DIR" if facts.is_wordpiece else ""
    cure = f"use --tokenizer builtin{repair}"
    if lost > 0:
        kinds = ", ".join(
            f"{name} {percent(share)}" for name, share in lost_families(facts.found)[:5]
        )
        yield Finding(
            SERIOUS if lost >= 0.001 else MEND,
            lost,
            f"{facts.tokenizer} cannot write back {percent(lost)} of the characters ({kinds}); a "
            "model trained with it never can either",
            cure,
        )
    if facts.shares.added >= 1e-4:
        yield Finding(
            MEND,
            facts.shares.added,
            f"{facts.tokenizer} writes characters that the text does not have, most of them "
            f"spaces: {percent(facts.shares.added)} of the characters",
            cure,
        )


def _about_vocabulary(facts: Facts) -> Iterator[Finding]:
    cure = "train one on your own texts: python -m data_tools train-tokenizer"
    rate = facts.shares.tokens_per_character
    if rate > _MUCH_FOR_CHINESE:
        yield Finding(
            SERIOUS,
            min(1.0, rate - 1),
            f"{facts.tokenizer} needs {rate:.2f} tokens per character: it was not made for this "
            "kind of text, and training takes so much longer",
            f"use --tokenizer builtin, or {cure}",
        )
    if facts.shares.spelled >= 0.01:
        top = " ".join(sign for sign, _ in facts.found.spelled.most_common(12))
        yield Finding(
            MEND,
            facts.shares.spelled,
            f"{percent(facts.shares.spelled)} of the characters are spelled in bytes, such as "
            f"{visible(top)}",
            cure,
        )
    if facts.vocab_size > 65535:
        yield Finding(
            NOTE,
            1.0,
            f"{facts.vocab_size} ids need four bytes per token on the disk instead of two",
            "a vocabulary of at most 65535 ids needs two",
        )


def _about_files(facts: Facts) -> Iterator[Finding]:
    encodings = Counter(map(_encoding, facts.samples))
    if len(encodings) > 1:
        usual, _ = encodings.most_common(1)[0]
        odd = [sample for sample in facts.samples if _encoding(sample) != usual]
        first = odd[0].source
        yield Finding(
            MEND,
            len(odd) / len(facts.samples),
            f"{len(odd)} of {len(facts.samples)} files are not {usual} like the others, the first "
            f"is {first.path.as_posix()} ({first.encoding}): {_beginning(odd[0])}",
            "nothing to do if this reads well; else name its encoding with --encoding and prepare "
            "it by itself",
        )
    reasons: Counter[str] = Counter()
    for group in facts.found.groups:
        reasons.update(group.set_aside)
    if reasons:
        documents = sum(map(documents_of, facts.found.groups))
        share = reasons.total() / (documents + reasons.total())
        kinds = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        yield Finding(
            SERIOUS if share >= 0.01 else NOTE,
            share,
            f"{percent(share)} of the records cannot be read and are set aside: {kinds}; "
            f"{_first_fault(facts.samples)}",
            "mend the files, or go on: prepare lists every record that it sets aside",
        )
    if facts.shares.damaged >= 0.001 and facts.found.damage:
        place, excerpt = facts.found.damage
        yield Finding(
            SERIOUS if facts.shares.damaged >= 0.05 else MEND,
            facts.shares.damaged,
            f"{percent(facts.shares.damaged)} of the documents were decoded wrongly before they "
            f"came here, such as {place}: {excerpt}",
            "get these texts from their source again; no option brings back what is lost",
        )


def _about_documents(facts: Facts) -> Iterator[Finding]:
    copies = facts.shares.copies
    if copies >= 0.005 and facts.found.repeated:
        count, beginning = facts.found.repeated
        yield Finding(
            MEND if copies >= 0.05 else NOTE,
            copies,
            f"{percent(copies)} of the documents in the sample equal an earlier one, {count} are "
            f"'{beginning}'; over the whole corpus it will be more",
            "prepare drops copies by itself; --near-duplicates drop finds those that nearly are",
        )
    if facts.shares.short >= 0.05:
        yield Finding(
            MEND if facts.shares.short >= 0.3 else NOTE,
            facts.shares.short,
            f"{percent(facts.shares.short)} of the documents have fewer than {SHORT} characters",
            f"--min-characters {SHORT} drops them",
        )
    lengths = [part for group in facts.found.groups for part in group.characters]
    long = int(sum((part > LONG).sum() for part in lengths))
    if long:
        longest = int(max(part.max() for part in lengths))
        yield Finding(
            NOTE,
            long / max(sum(map(len, lengths)), 1),
            f"documents of more than {LONG} characters in the sample: {long}, the longest "
            f"{longest}; a model sees {facts.row_length} tokens of one at a time, in rows that "
            "are shuffled",
            "good for books; if these are whole collections, give one text per record",
        )
    empty = sum(group.empty for group in facts.found.groups)
    share = empty / max(empty + sum(map(len, lengths)), 1)
    if share >= 0.01:
        yield Finding(
            NOTE, share, f"{percent(share)} of the records are empty", "prepare skips them"
        )


def _about_size(facts: Facts) -> Iterator[Finding]:
    expected = facts.forecast
    if expected.steps < _FEW_STEPS:
        yield Finding(
            MEND if expected.steps < _FEW_STEPS / 10 else NOTE,
            0.0,
            f"about {expected.rows} rows are only {expected.steps} steps an epoch at a global "
            f"batch of {expected.global_batch}",
            "train several epochs (--train.epochs) or with a smaller --train.global_batch",
        )


def _encoding(sample: FileSample) -> str:
    """Return the encoding of a file; a byte order mark makes no difference."""
    return sample.source.encoding.removesuffix("-sig")


def _beginning(sample: FileSample) -> str:
    for block in sample.blocks:
        if len(block):
            return visible(block.text(0)[:24])
    return "(no text)"


def _first_fault(samples: Sequence[FileSample]) -> str:
    for sample in samples:
        for block in sample.blocks:
            for item in block.set_aside:
                return f"the first is {sample.source.path.as_posix()}:{item.line}: {item.detail}"
    raise AssertionError(samples)


def percentiles(parts: Sequence[np.ndarray], ranks: Sequence[float]) -> list[int]:
    """Return percentiles of values in several arrays; zeros where there are none."""
    whole = np.concatenate([np.zeros(0, np.int64), *parts])
    return [int(value) for value in np.percentile(whole, ranks)] if len(whole) else [0] * len(ranks)
