"""The report as a page: one file without scripts that needs no network.

The template has the words; the modules `page_*` have the numbers and plots. The page depends on the
shards alone, so the same folder gives the same bytes.
"""

from __future__ import annotations

from data_tools.report import page_ledger, page_rows, page_tokens
from data_tools.report.account import Account
from data_tools.shards.ledger import by_kind
from gpt2zh.data.manifest import KEPT
from gpt2zh.pages.html import render
from gpt2zh.pages.numbers import count, ratio, share, size


def page(account: Account) -> str:
    """Return the whole page."""
    return render(
        "report.html",
        package="data_tools.report",
        account=account,
        tiles=_tiles(account),
        ledger=page_ledger.ledger(account),
        near=page_ledger.near(account),
        lengths=page_tokens.lengths(account),
        density=page_tokens.density(account),
        unknown=page_tokens.unknown(account),
        rows=page_rows.rows(account),
        files=page_ledger.files(account),
        options=page_rows.options(account),
    )


def _tiles(account: Account) -> list[tuple[str, str]]:
    """Return the most important numbers with their names."""
    kept = by_kind(account.all.fates)[KEPT]
    read = account.all.read
    rows = sum(split.rows for split in account.manifest.splits.values())
    return [
        ("files", count(len(account.manifest.sources))),
        ("read", size(read.bytes)),
        ("bytes kept", f"{share(kept.bytes, read.bytes)} %"),
        ("documents kept", f"{share(kept.documents, read.documents)} %"),
        ("documents", count(kept.documents)),
        ("tokens", count(account.all.tokens)),
        ("tokens per character", ratio(account.all.tokens, account.all.characters)),
        (f"rows of {account.manifest.row_length} tokens", count(rows)),
    ]
