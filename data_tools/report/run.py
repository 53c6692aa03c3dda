"""`report`: say on the terminal and on a page what a folder of shards is made of."""

from __future__ import annotations

import os
from pathlib import Path

from data_tools.report import html, terminal
from data_tools.report.account import gather
from data_tools.report.options import ReportConfig
from gpt2zh.config.errors import UserError


def run(config: ReportConfig) -> None:
    """Print the report and write the page.

    Raises:
        UserError: The folder is damaged, or the page cannot be written.
    """
    target = config.html or page_beside(config.shards)
    if config.shards.resolve() in target.resolve().parents:
        raise UserError(
            f"--html {target} lies in the shards, where verify would take it for a stray file; "
            f"name a file elsewhere, or leave --html out for {page_beside(config.shards)}"
        )
    account = gather(config.shards)
    print(terminal.report(account))
    _write(target, html.page(account))
    print(f"\npage        {target}")


def page_beside(shards: Path) -> Path:
    """Return where the page goes by itself: beside the folder, which stays as it is."""
    folder = shards if shards.name not in ("", "..") else shards.resolve()
    return folder.with_name(f"{folder.name}.report.html")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"the page {path} cannot be written: {error.strerror}; name a file in a folder that "
            "exists and is yours with --html"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
