"""The report as text: the ledger line by line, then what the rows hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from data_tools.report.account import Account, kind_of
from data_tools.report.groups import Group, name_of
from data_tools.report.lengths import Lengths, joined
from data_tools.report.near import HEAD
from gpt2zh.data.manifest import ASIDE, SET_ASIDE
from gpt2zh.pages.characters import character_name, visible
from gpt2zh.pages.console import paragraph, table
from gpt2zh.pages.numbers import count, percent, plural, ratio, share, size

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_MOST_UNKNOWN = 20
_MOST_KINDS = 20
_MOST_NEAR = 10


def report(account: Account) -> str:
    """Return what fits on a terminal; many files are summed up by folder."""
    parts = [
        _head(account),
        _ledger(account),
        _near(account),
        _tokens(account),
        _rows(account),
        _lengths(account),
        _kinds(account),
        _options(account),
        _unknown(account),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def fate_rows(group: Group) -> list[list[str]]:
    """Return the ledger of a group: fate, documents and bytes with their shares; the sum last."""
    whole = group.read
    fates = [*group.fates.items(), ("= read", whole)]
    return [
        [
            fate,
            count(part.documents),
            share(part.documents, whole.documents),
            count(part.bytes),
            share(part.bytes, whole.bytes),
        ]
        for fate, part in fates
    ]


def quantile_row(name: str, lengths: Lengths) -> list[str]:
    """Return name, documents, shortest length, quantiles and longest length."""
    if not lengths.total:
        return [name, "0", *["-"] * (len(QUANTILES) + 2)]
    marks = (lengths.tokens[0], *map(lengths.quantile, QUANTILES), lengths.tokens[-1])
    return [name, *map(count, (lengths.total, *map(int, marks)))]


def quantile_head() -> list[str]:
    """Return the head of a table of `quantile_row`."""
    return ["documents", "shortest", *(f"{100 * part:g} %" for part in QUANTILES), "longest"]


def _head(account: Account) -> list[str]:
    manifest = account.manifest
    sources = manifest.sources
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    on_disk = sum(source.bytes for source in sources)
    lines = [
        f"shards      {visible(account.name)}: {plural(len(shards), 'file')}, "
        f"{size(sum(shard.bytes for shard in shards))}, from "
        f"{plural(len(manifest.units), 'unit')}; "
        "every file is there and has its full size",
        f"fingerprint {manifest.fingerprint}",
        f"tokenizer   {visible(manifest.tokenizer.name)}, "
        f"{count(manifest.tokenizer.vocab_size)} ids",
        f"files       {count(len(sources))} in {visible(account.root.as_posix())}, "
        f"{plural(on_disk, 'byte')}",
    ]
    if len(account.groups) < len(sources):
        lines.append(
            f"            {plural(len(account.groups), 'folder')} here; the page lists the files"
        )
    if account.cutting:
        lines += paragraph("held out", [account.cutting])
    return lines


def _ledger(account: Account) -> list[str]:
    head = ["", "documents", "%", "bytes", "%"]
    rows = [head]
    groups = account.groups_with_all
    marks = []
    for group in groups:
        marks.append(len(rows))
        rows += [[f"  {visible(row[0])}", *row[1:]] for row in fate_rows(group)]
    lines = table(rows)
    for position, group in reversed(list(zip(marks, groups, strict=True))):
        files = f" ({plural(len(group.sources), 'file')})" if len(group.sources) != 1 else ""
        lines.insert(position, f"{visible(group.name)}{files}")
    return [
        "ledger: what became of everything that was read (bytes are counted after decoding)",
        *lines,
    ]


def _near(account: Account) -> list[str]:
    """Return the least similar near duplicates; nothing where they were not searched."""
    near = account.near
    if near is None:
        return []
    shown = [[visible(cell) for cell in row] for row in near.examples[:_MOST_NEAR]]
    return [
        f"near copies {near.text}",
        *(table([HEAD, *shown], left=(0, 1, 2)) if shown else []),
        *(["(the least similar ones; near_duplicates-*.parquet lists all)"] if shown else []),
    ]


def _tokens(account: Account) -> list[str]:
    rows = [["tokens", "documents", "characters", "tokens", "%", "tokens/character"]]
    lines = list(zip(account.groups, account.lengths, strict=True))
    if len(lines) != 1:
        lines.insert(0, (account.all, joined(account.lengths)))
    for group, lengths in lines:
        rows.append(
            [
                visible(group.name),
                count(lengths.total),
                count(group.characters),
                count(group.tokens),
                share(group.tokens, account.all.tokens),
                ratio(group.tokens, group.characters),
            ]
        )
    return table(rows)


def _rows(account: Account) -> list[str]:
    manifest = account.manifest
    head = ["rows", "documents", "tokens", "rows", "shards", "padding", "dropped tokens", "%"]
    rows = [head]
    for name, split in manifest.splits.items():
        figures = (split.documents, split.tokens, split.rows, len(split.shards), split.padding)
        rows.append(
            [
                name,
                *map(count, figures),
                count(split.dropped_tokens),
                share(split.dropped_tokens, split.tokens),
            ]
        )
    dropped = sum(split.dropped_documents for split in manifest.splits.values())
    return [
        *table(rows),
        f"(rows of {manifest.row_length} tokens, packing {manifest.packing}"
        + (f"; no token of {plural(dropped, 'document')} is in a row)" if dropped else ")"),
    ]


def _lengths(account: Account) -> list[str]:
    rows = [["tokens in a document", *quantile_head()]]
    if len(account.groups) != 1:
        rows.append(quantile_row("all", joined(account.lengths)))
    for group, lengths in zip(account.groups, account.lengths, strict=True):
        rows.append(quantile_row(visible(group.name), lengths))
    return table(rows)


def _kinds(account: Account) -> list[str]:
    """List the files that are not CSV in plain UTF-8, or count them where there are many."""
    aside = sum(part.bytes for fate, part in account.all.fates.items() if fate.startswith(ASIDE))
    part = percent(aside / max(account.all.read.bytes, 1))
    has_any = any(fate.startswith(ASIDE) for fate in account.all.fates)
    lines = [f"set aside   {part} of the bytes; {SET_ASIDE} lists every record"] if has_any else []
    if not account.unusual:
        return [*lines, "files       all are CSV in plain UTF-8"]
    if len(account.unusual) > _MOST_KINDS:
        counts = Counter(map(kind_of, account.manifest.sources)).most_common()
        return [*lines, *(f"files       {number} {kind}" for kind, number in counts)]
    rows = [["not plain", "format, compression, encoding"]]
    for source in account.unusual:
        rows.append([visible(name_of(source, account.root)), kind_of(source)])
    return [*lines, *table(rows, left=(0, 1))]


def _options(account: Account) -> list[str]:
    chosen = [(name, value) for name, value in account.options.items() if name in account.chosen]
    others = [item for item in account.options.items() if item[0] not in account.chosen]
    return [
        *paragraph("options", _pairs(chosen) or ["all have their default values"]),
        *paragraph("defaults", _pairs(others)),
        *paragraph("versions", _pairs(account.versions.items())),
    ]


def _pairs(items: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{visible(name)}={visible(value) or repr('')}" for name, value in items]


def _unknown(account: Account) -> list[str]:
    unknown = list(account.manifest.unknown.items())
    if not unknown:
        return ["unknown     none: the tokenizer has ids for all the text"]
    rows = [["unknown text", "times", "characters"]]
    for text, number in unknown[:_MOST_UNKNOWN]:
        rows.append([visible(text), count(number), describe(text)])
    more = len(unknown) - _MOST_UNKNOWN
    return [
        *table(rows, left=(0, 2)),
        *([f"(the page lists {more} more)"] if more > 0 else []),
    ]


def describe(text: str) -> str:
    """Return code point and name of one character, or the code points of several."""
    if len(text) == 1:
        return character_name(text)
    points = [f"U+{ord(sign):04X}" for sign in text]
    return " ".join(points[:8]) + (" ..." if len(points) > 8 else "")
