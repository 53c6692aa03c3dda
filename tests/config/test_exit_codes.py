"""Exit codes: those of the documents, and none that a shell or a signal already uses."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpt2zh.config.exit_codes import Exit, by_signal

ROOT = Path(__file__).parents[2]
SIGNALS = {by_signal(number) for number in signal.Signals}


def codes_in(page: str) -> set[int]:
    """The exit codes of the table that has them: rows that begin with `| 75 |` and the like."""
    text = (ROOT / page).read_text("utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    first_cells = [re.findall(r"^\| *`?(\d+)`? *\|", table, flags=re.MULTILINE) for table in tables]
    (found,) = [cells for cells in first_cells if str(int(Exit.STOPPED)) in cells]
    assert len(found) == len(set(found))
    return {int(cell) for cell in found}


@pytest.mark.parametrize("page", ["docs/en/troubleshooting.md", "docs/zh/troubleshooting.md"])
def test_the_documents_list_every_exit_code(page: str) -> None:
    assert codes_in(page) - SIGNALS == {code.value for code in Exit}


def test_no_code_means_two_things() -> None:
    """Shells use 126 and 127 for a command that does not start, Python uses 120 at a bad flush."""
    assert len(Exit.__members__) == len(set(Exit))  # the same number twice would be an alias
    assert not {code.value for code in Exit} & (SIGNALS | {120, 126, 127})


@pytest.mark.slow
def test_a_process_that_a_signal_kills_has_the_code_that_a_shell_gives_it() -> None:
    kill = f"{sys.executable} -c 'import os; os.kill(os.getpid(), 9)'; echo $?"
    done = subprocess.run(["sh", "-c", kill], capture_output=True, text=True)
    assert int(done.stdout) == by_signal(signal.SIGKILL) == 137
