"""The command line of a benchmark: measure, write JSON, print Markdown; or print it once more."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.processes import ArmError, Figures
from gpt2zh.config.console import prepare_output
from gpt2zh.config.errors import UserError
from gpt2zh.ranks.logs import quiet_libraries

Options = argparse.Namespace


@dataclass(frozen=True)
class Benchmark:
    """One question."""

    doc: str
    """The docstring of its module."""
    add_options: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[Options], Figures]
    """Measures everything; the result is the JSON."""
    markdown: Callable[[Figures], str]
    """Makes the tables, from the JSON alone."""
    arm: Callable[[Options], Figures | None] | None = None
    """Measures the arm `options.child` in this process; None on ranks other than the first."""
    is_failure: Callable[[Figures], bool] = lambda found: False
    """Whether the exit code is 1."""

    def main(self) -> int:
        """Do what the command line says; return the exit code."""
        prepare_output()
        parser = argparse.ArgumentParser(
            description=self.doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add_options(parser)
        parser.add_argument("--json", type=Path, help="write all figures to this file")
        parser.add_argument("--table", type=Path, help="only print the tables of such a file")
        parser.add_argument("--child", help=argparse.SUPPRESS)
        parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
        options = parser.parse_args()
        if self.arm is not None:
            quiet_libraries()  # before they are imported; encoders of a whole corpus stay parallel
        if self.arm is not None and options.child:
            if (figures := self.arm(options)) is not None:
                options.out.write_text(json.dumps(figures) + "\n", "utf-8")
            return 0
        if options.table:
            print(self.markdown(json.loads(options.table.read_text("utf-8"))))
            return 0
        try:
            found = self.measure(options)
        except (ArmError, UserError) as error:
            raise SystemExit(f"error: {error}") from None
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        if options.json:
            options.json.write_text(text, "utf-8")
        print(self.markdown(json.loads(text)))  # as --table does: all keys are texts
        return int(self.is_failure(found))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a row that is too short gets empty cells."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    filled = ([*row, *[""] * (len(columns) - len(row))] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in filled)])


def say(text: str) -> None:
    """Print progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)
