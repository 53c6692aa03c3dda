"""`report`: show on the terminal and on a page what a folder of shards is made of."""

from __future__ import annotations

from pathlib import Path

from data_tools.report import html, terminal
from data_tools.report.account import gather
from data_tools.report.options import ReportConfig
from gpt2zh.config.errors import UserError, printable
from gpt2zh.files.durable import whole_file


def run(config: ReportConfig) -> None:
    """Print the report and write the page.

    Raises:
        UserError: The folder is damaged, or the page cannot be written.
    """
    target = config.html or default_page(config.shards)
    if config.shards.resolve() in target.resolve().parents:
        raise UserError(
            f"--html {target} is in the folder of shards, where verify would report it as a "
            "foreign file; give a path outside the folder, or leave out --html to write "
            f"{default_page(config.shards)}"
        )
    account = gather(config.shards)
    print(terminal.report(account))
    _write(target, html.page(account))
    print(printable(f"\npage        {target}"))


def default_page(shards: Path) -> Path:
    """Return the default path of the page: next to the folder, which does not change."""
    folder = shards if shards.name not in ("", "..") else shards.resolve()
    return folder.with_name(f"{folder.name}.report.html")


def _write(path: Path, text: str) -> None:
    try:
        with whole_file(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise UserError(
            f"the page {path} cannot be written: {error.strerror}; give --html a path in a folder "
            "that exists and that you can write to"
        ) from error
