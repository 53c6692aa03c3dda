"""The page's sections about the input: what became of its bytes, and its files."""

from __future__ import annotations

from collections.abc import Sequence

from data_tools.report import plots
from data_tools.report.account import Account, kind_of
from data_tools.report.figures import count, ratio, share, size
from data_tools.report.groups import Group
from data_tools.report.markup import Markup, element, folded, table
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

_MOST_FILES = 5000

_CLASSES = {
    KEPT: "kept",
    EXACT: "exact",
    NEAR: "near",
    FILTERED: "filtered",
    EMPTY: "empty",
    ASIDE: "aside",
    STRUCTURE: "structure",
}
"""Of the style sheet, by kind of fate."""


def ledger(account: Account) -> list[Markup]:
    """Show the shares of the bytes that met each fate, by group of files."""
    groups = _with_all(account)
    present = [kind for kind, part in by_kind(account.all.fates).items() if part != Count()]
    everything = plots.stacks(
        "Share of the bytes that met each fate",
        "One bar for each group of files; the table below has the numbers.",
        [_stack(group, present) for group in groups],
        whole=[float(group.read.bytes) for group in groups],
        key="ledger",
    )
    aside = element(
        "p",
        "Every record set aside is listed in ",
        element("code", SET_ASIDE),
        " with its file, line, reason and some of its text.",
    )
    return [
        element(
            "p",
            "Bytes are counted after decompression and decoding, with the other columns and the "
            "syntax of each record; structure is headers and blank lines. The fates of each file "
            "sum up to what was read of it, to the byte.",
        ),
        _legend(present),
        element("h3", "All bytes"),
        everything,
        *_enlarged(groups, [kind for kind in present if kind != KEPT]),
        *([aside] if ASIDE in present else []),
        _fates([account.all]),
        *([folded("The numbers of each bar", _fates(account.groups))] if len(groups) > 1 else []),
    ]


def files(account: Account) -> list[Markup]:
    """Show what is known about every single file, as far as a browser bears it."""
    shown = sorted(account.files, key=lambda group: -group.read.bytes)[:_MOST_FILES]
    shown.sort(key=lambda group: group.numbers)
    rest = len(account.files) - len(shown)
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
    head = ["file", "format, compression, encoding", "bytes on the disk", "bytes read", "documents"]
    head += ["kept", "characters", "tokens", "tokens/character"]
    return [
        element(
            "p",
            "Names are those below ",
            element("code", account.root.as_posix()),
            f". The {rest} smallest files are left out here; manifest.json has them."
            if rest
            else ".",
        ),
        folded(f"{'The largest' if rest else 'All'} {len(rows)} files", table(head, rows, left=2)),
        folded("The ledger of each of them", _fates(shown)),
    ]


def _fates(groups: Sequence[Group]) -> Markup:
    """Return the ledger of each group: a line for each fate, then the sum."""
    bodies = []
    for group in groups:
        rows = fate_rows(group)
        name = element("th", group.name, scope="rowgroup", rowspan=len(rows), class_="left")
        lines = []
        for number, (fate, *numbers) in enumerate(rows):
            lines.append(
                element(
                    "tr",
                    *([] if number else [name]),
                    element("th", fate, scope="row", class_="left"),
                    *(element("td", cell) for cell in numbers),
                    class_="part" if number + 1 < len(rows) else "sum",
                )
            )
        bodies.append(element("tbody", *lines))
    head = ["files", "fate", "documents", "%", "bytes", "%"]
    sides = ["left", "left", "right", "right", "right", "right"]
    names = (
        element("th", text, scope="col", class_=side)
        for text, side in zip(head, sides, strict=True)
    )
    columns = element("thead", element("tr", *names))
    return element("div", element("table", columns, *bodies), class_="scroll")


def _with_all(account: Account) -> list[Group]:
    return [*([account.all] if len(account.groups) != 1 else []), *account.groups]


def _legend(kinds: Sequence[str]) -> Markup:
    return element(
        "ul",
        *(
            element("li", element("i", class_=_CLASSES[kind]), kind.removesuffix(": "))
            for kind in kinds
        ),
        class_="legend",
    )


def _enlarged(groups: Sequence[Group], kinds: Sequence[str]) -> list[Markup]:
    """Show the same without what was kept, at a scale at which it can be seen."""
    shares = [1 - by_kind(group.fates)[KEPT].bytes / (group.read.bytes or 1) for group in groups]
    largest = max(shares, default=0.0)
    if not kinds or not largest:
        return []
    figure = plots.stacks(
        "Share of the bytes that were not kept, enlarged",
        f"The same without what was kept; a full width would be {100 * largest:.2f} %.",
        [_stack(group, kinds) for group in groups],
        whole=[group.read.bytes * largest for group in groups],
        key="ledger-rest",
    )
    return [element("h3", "What was not kept, enlarged"), figure]


def _stack(group: Group, kinds: Sequence[str]) -> plots.Stack:
    amounts = by_kind(group.fates)
    whole = group.read.bytes
    parts = []
    for kind in kinds:
        amount = amounts[kind]
        text = (
            f"{kind.removesuffix(': ')}: {share(amount.bytes, whole)} %, "
            f"{count(amount.bytes)} bytes, {count(amount.documents)} documents"
        )
        parts.append(plots.Part(_CLASSES[kind], amount.bytes, text))
    drawn = sum(part.value for part in parts)
    return plots.Stack(
        group.name, tuple(parts), size(whole) if KEPT in kinds else f"{share(drawn, whole)} %"
    )
