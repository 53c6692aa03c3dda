"""The doctor's report as text, and as a table for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data_tools.doctor.examine import Examination, FileGroup, LostCharacter
from data_tools.doctor.findings import (
    LONG,
    Facts,
    Finding,
    lost_families,
    lost_shares,
    percentiles,
)
from data_tools.doctor.forecast import SHORT, characters_of, documents_of, tokens_of
from data_tools.doctor.sample import FileSample
from gpt2zh.pages.characters import character_kind, character_name, visible
from gpt2zh.pages.console import table
from gpt2zh.pages.numbers import approximate, count, duration, percent, plural, ratio, size

_MOST_LOST = 18
_OF_A_FAMILY = 3
_RANKS = (1, 5, 25, 50, 75, 95, 99, 100)
_MARKS = {3: "!!", 2: "! ", 1: "  "}


def report(facts: Facts, conclusions: Sequence[Finding], *, seconds: float) -> str:
    """Return the report as text; the findings come last."""
    parts = [
        _head(facts, seconds=seconds),
        _groups(facts.found.groups),
        _lost(facts),
        _documents(facts),
        _forecast(facts),
        _conclusions(conclusions),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def machine_readable(facts: Facts, conclusions: Sequence[Finding]) -> dict[str, Any]:
    """Return the same and more as a table that JSON can hold."""
    found = facts.found
    return {
        "tokenizer": {"name": facts.tokenizer, "ids": facts.vocab_size},
        "files": [
            {
                "path": sample.source.path.as_posix(),
                "format": sample.source.format,
                "compression": sample.source.compression,
                "encoding": sample.source.encoding,
                "bytes": sample.source.bytes,
                "sampled_bytes": round(sample.read),
            }
            for sample in facts.samples
        ],
        "groups": [group_table(group) for group in found.groups],
        "shares": asdict(facts.shares),
        "lost_families": dict(lost_families(found)),
        "lost": [
            _lost_table(sign, share, found.losses[sign])
            for sign, share in lost_shares(found).items()
        ],
        "spelled_in_bytes": dict(found.spelled.most_common()),
        "forecast": asdict(facts.forecast),
        "findings": [asdict(finding) for finding in conclusions],
    }


def _head(facts: Facts, *, seconds: float) -> list[str]:
    samples = facts.samples
    read = sum(sample.read for sample in samples)
    whole = sum(sample.source.bytes for sample in samples)
    touched = sum(sample.read > 0 for sample in samples)
    return [
        f"sample      {size(read)} of {size(whole)}, from {touched} of "
        f"{plural(len(samples), 'file')}, in "
        f"{duration(seconds)}",
        f"files       {_kinds(samples)}, in {visible(facts.found.folder.as_posix())}",
        f"tokenizer   {visible(facts.tokenizer)}, {count(facts.vocab_size)} ids",
    ]


def _kinds(samples: Sequence[FileSample]) -> str:
    """Count the files by format, compression and encoding."""
    kinds: Counter[str] = Counter()
    for sample in samples:
        source = sample.source
        packed = f" {source.compression}" if source.compression else ""
        encoding = source.encoding.replace("-sig", " with byte order mark")
        kinds[f"{source.format}{packed} {encoding}"] += 1
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())


def _groups(groups: Sequence[FileGroup]) -> list[str]:
    head = ["group", "size", "documents", "characters", "tokens/char", "bytes", "lost", "exact"]
    rows = [head]
    unread = [group for group in groups if not group.read and group.bytes]
    for group in groups:
        if group in unread:
            continue
        characters = characters_of(group)
        tokens = tokens_of(group)
        files = f" ({plural(group.files, 'file')})" if group.files != 1 else ""
        rows.append(
            [
                visible(group.name) + files,
                size(group.bytes),
                count(documents_of(group)),
                count(characters),
                ratio(tokens, characters),
                _share(group.partial, tokens),
                _share(group.lost.total(), characters),
                _share(group.exact, documents_of(group)),
            ]
        )
    if unread:
        files = plural(sum(group.files for group in unread), "other file")
        whole = size(sum(group.bytes for group in unread))
        rows.append([files, whole, "not sampled", *["-"] * 5])
    return [
        *table(rows),
        "bytes: tokens that are only a part of a character; lost: characters that do not come "
        "back;",
        "exact: documents that come back unchanged",
    ]


def _share(part: int, whole: int) -> str:
    """Return a share in percent; a share of nothing is unknown."""
    return percent(part / whole if whole else None)


def _lost(facts: Facts) -> list[str]:
    found = facts.found
    exact = sum(group.exact for group in found.groups)
    documents = sum(map(documents_of, found.groups))
    if not found.losses:
        comes_back = f"every character of the {plural(documents, 'document')} comes back"
        return [f"round trip  {comes_back}"]
    kinds = ", ".join(f"{name} {percent(share)}" for name, share in lost_families(found)[:6])
    lines = [
        f"round trip  {percent(facts.shares.lost)} of the characters are lost: {kinds}",
        f"            {count(exact)} of {plural(documents, 'document')} come back exactly",
    ]
    rows = [["count", "share", "character", "becomes", "example", "place"]]
    for sign, share in _most_lost(found):
        lost = found.losses[sign]
        rows.append(
            [
                count(lost.count),
                percent(share),
                character_name(sign),
                _becomes(lost),
                lost.example,
                visible(lost.place),
            ]
        )
    more = len(found.losses) - len(rows) + 1
    return [
        *lines,
        *table(rows, left=(2, 3, 4, 5)),
        *([f"and {plural(more, 'other character')}; --json FILE lists them all"] if more else []),
    ]


def _most_lost(found: Examination) -> list[tuple[str, float]]:
    """Return the most frequent of each kind, so that capitals do not fill the list."""
    of_family: Counter[str] = Counter()
    chosen = []
    for sign, share in lost_shares(found).items():
        family = character_kind(sign)
        of_family[family] += 1
        if of_family[family] <= _OF_A_FAMILY:
            chosen.append((sign, share))
    return chosen[:_MOST_LOST]


def _lost_table(sign: str, share: float, lost: LostCharacter) -> dict[str, Any]:
    return {
        "character": sign,
        "name": character_name(sign),
        "count": lost.count,
        "share": share,
        "kind": lost.outcome.kind,
        "becomes": lost.outcome.written,
        "place": lost.place,
        "example": lost.example,
    }


def _becomes(lost: LostCharacter) -> str:
    if lost.outcome.kind == "unknown":
        return "[UNK]"
    return visible(lost.outcome.written) if lost.outcome.written else "nothing"


def _documents(facts: Facts) -> list[str]:
    groups = facts.found.groups
    rows = [["percentile", *(f"{rank} %" for rank in _RANKS[:-1]), "longest"]]
    for name, parts in (
        ("characters", [part for group in groups for part in group.characters]),
        ("tokens", [part for group in groups for part in group.tokens]),
    ):
        rows.append([name, *map(count, percentiles(parts, _RANKS))])
    characters = [part for group in groups for part in group.characters]
    long = int(sum((part > LONG).sum() for part in characters))
    aside: Counter[str] = Counter()
    for group in groups:
        aside.update(group.set_aside)
    left_out = ", ".join(f"{number} {reason}" for reason, number in aside.most_common())
    return [
        *table(rows),
        f"documents   {percent(facts.shares.short)} have fewer than {SHORT} characters, "
        f"{plural(long, 'has', 'have')} more than {count(LONG)}, "
        f"{percent(facts.shares.row_filling)} fill a row",
        f"            {percent(facts.shares.copies)} are copies of another one in the sample, "
        f"{plural(sum(group.empty for group in groups), 'is', 'are')} empty, "
        f"{plural(aside.total(), 'is', 'are')} set aside" + (f": {left_out}" if left_out else ""),
    ]


def _forecast(facts: Facts) -> list[str]:
    expected = facts.forecast
    return [
        "estimate for the whole corpus, from the sample:",
        f"documents   {approximate(expected.documents)}, with "
        f"{plural(expected.characters, 'character', show=approximate)}",
        f"tokens      {approximate(expected.tokens)}, {facts.shares.tokens_per_character:.3f} per "
        f"character, in {plural(expected.rows, 'row', show=approximate)}",
        f"disk        {size(expected.disk_bytes)}",
        f"time        {duration(expected.seconds)} to read and encode with "
        f"{plural(expected.cores, 'core')}; "
        "cleaning takes more",
        f"training    {plural(expected.steps, 'step', show=approximate)} per epoch with "
        f"configs/{expected.config}.yaml, whose global batch is "
        f"{plural(expected.global_batch, 'row')}",
    ]


def _conclusions(conclusions: Sequence[Finding]) -> list[str]:
    if not conclusions:
        return ["findings    none: you can run prepare"]
    lines = ["findings, the most important ones first:"]
    for finding in conclusions:
        lines.append(f"{_MARKS[finding.weight]} {finding.text}")
        lines.append(f"   -> {finding.cure}")
    return lines


def before_and_after(old: Examination, new: Examination) -> list[str]:
    """Return how two tokenizers encode the same sample, by group."""
    rows = [["group", "lost before", "after", "exact before", "after", "tokens/char", "after"]]
    for before, after in zip(old.groups, new.groups, strict=True):
        if not before.read and before.bytes:
            continue  # not sampled
        characters, documents = characters_of(before), documents_of(before)
        rows.append(
            [
                visible(before.name),
                _share(before.lost.total(), characters),
                _share(after.lost.total(), characters),
                _share(before.exact, documents),
                _share(after.exact, documents),
                ratio(tokens_of(before), characters),
                ratio(tokens_of(after), characters),
            ]
        )
    return table(rows)


def group_table(group: FileGroup) -> dict[str, Any]:
    """Return the figures of a group as what JSON can hold."""
    return {
        "name": group.name,
        "files": group.files,
        "bytes": group.bytes,
        "sampled_bytes": round(group.read),
        "documents": documents_of(group),
        "empty": group.empty,
        "set_aside": dict(group.set_aside),
        "characters": characters_of(group),
        "tokens": tokens_of(group),
        "partial_tokens": group.partial,
        "lost": group.lost.total(),
        "added": group.added,
        "exact": group.exact,
        "copies": group.copies,
        "damaged": group.damaged,
        "lengths": dict(zip(map(str, _RANKS), percentiles(group.characters, _RANKS), strict=True)),
    }
