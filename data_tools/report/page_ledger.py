"""The page's sections about the input: what became of its bytes, and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_tools.report.account import Account, kind_of
from data_tools.report.groups import Group
from data_tools.report.near import HEAD
from data_tools.report.terminal import fate_rows
from data_tools.shards.ledger import by_kind
from gpt2zh.data.manifest import (
    ASIDE,
    EMPTY,
    EXACT,
    FILTERED,
    KEPT,
    NEAR,
    SET_ASIDE,
    STRUCTURE,
    Count,
)
from gpt2zh.pages.html import Table
from gpt2zh.pages.numbers import count, plural, ratio, share, size
from gpt2zh.pages.plots import Caption, Colour, Figure, Part, Stack, stacks

_MOST_FILES = 5000

_COLOURS: Mapping[str, Colour] = {
    KEPT: "blue",
    EXACT: "orange",
    NEAR: "yellow",
    FILTERED: "purple",
    EMPTY: "grey",
    ASIDE: "red",
    STRUCTURE: "pale",
}
"""By kind of fate."""


@dataclass(frozen=True)
class Fates:
    """The ledger of some files: a row for each fate, then the sum."""

    name: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class LedgerSection:
    """What became of the bytes."""

    legend: Sequence[tuple[Colour, str]]
    shares: Figure
    enlarged: Figure | None
    """The same without what was kept; absent where everything was."""
    set_aside: str
    """File that lists the records set aside; empty where there are none."""
    whole: Sequence[Fates]
    groups: Sequence[Fates]
    """Empty where there is only one group."""


@dataclass(frozen=True)
class FilesSection:
    """All that is known about single files."""

    table: Table
    fates: Sequence[Fates]
    left_out: int
    """Files that are not shown."""


def ledger(account: Account) -> LedgerSection:
    """Return the shares of the bytes that met each fate, by group of files."""
    groups = account.groups_with_all
    present = [kind for kind, part in by_kind(account.all.fates).items() if part != Count()]
    caption = Caption(
        "ledger",
        "Share of the bytes that met each fate",
        "One bar for each group of files; the table below has the numbers.",
    )
    return LedgerSection(
        legend=[(_COLOURS[kind], kind.removesuffix(": ")) for kind in present],
        shares=stacks(
            caption, [_stack(group, present, whole=group.read.bytes) for group in groups]
        ),
        enlarged=_enlarged(groups, [kind for kind in present if kind != KEPT]),
        set_aside=SET_ASIDE if ASIDE in present else "",
        whole=_fates([account.all]),
        groups=_fates(account.groups) if len(groups) > 1 else [],
    )


def near(account: Account) -> Table | None:
    """Return the least similar near duplicates; None where there are none."""
    if account.near is None or not account.near.examples:
        return None
    return Table(HEAD, account.near.examples, left=3)


def files(account: Account) -> FilesSection:
    """Return what is known about every file, up to a number that a browser can show."""
    shown = sorted(account.files, key=lambda group: -group.read.bytes)[:_MOST_FILES]
    shown.sort(key=lambda group: group.numbers)
    rows = [
        [
            group.name,
            kind_of(group.sources[0]),
            count(group.sources[0].bytes),
            count(group.read.bytes),
            count(group.read.documents),
            count(by_kind(group.fates)[KEPT].documents),
            count(group.characters),
            count(group.tokens),
            ratio(group.tokens, group.characters),
        ]
        for group in shown
    ]
    head = ["file", "format", "bytes on disk", "bytes read", "documents", "kept", "characters"]
    head += ["tokens", "tokens/character"]
    return FilesSection(
        table=Table(head, rows, left=2),
        fates=_fates(shown),
        left_out=len(account.files) - len(shown),
    )


def _fates(groups: Sequence[Group]) -> list[Fates]:
    return [Fates(group.name, fate_rows(group)) for group in groups]


def _enlarged(groups: Sequence[Group], kinds: Sequence[str]) -> Figure | None:
    """Return the bars without what was kept, at a scale at which they can be seen."""
    shares = [1 - by_kind(group.fates)[KEPT].bytes / (group.read.bytes or 1) for group in groups]
    largest = max(shares, default=0.0)
    if not kinds or not largest:
        return None
    caption = Caption(
        "ledger-rest",
        "Share of the bytes that were not kept, enlarged",
        f"The same without what was kept; the full width is {100 * largest:.2f} %.",
    )
    return stacks(
        caption, [_stack(group, kinds, whole=group.read.bytes * largest) for group in groups]
    )


def _stack(group: Group, kinds: Sequence[str], *, whole: float) -> Stack:
    amounts = by_kind(group.fates)
    read = group.read.bytes
    parts = []
    for kind in kinds:
        amount = amounts[kind]
        text = (
            f"{kind.removesuffix(': ')}: {share(amount.bytes, read)} %, "
            f"{plural(amount.bytes, 'byte')}, {plural(amount.documents, 'document')}"
        )
        parts.append(Part(_COLOURS[kind], amount.bytes, text))
    drawn = sum(part.value for part in parts)
    text = size(read) if KEPT in kinds else f"{share(drawn, read)} %"
    return Stack(group.name, parts, text, whole)
