"""What the command line promises as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "arguments", [[], ["prepare"], ["finish"], ["doctor"], ["report"], ["train-tokenizer"]]
)
def test_help_never_imports_torch_or_the_tokenizer(arguments: list[str]) -> None:
    heavy = ("torch", "deepspeed", "transformers", "tokenizers", "pyarrow", "numpy")
    loaded = imported_by(f"sys.argv = ['data_tools', *{arguments}, '--help']; main()")
    assert not loaded & set(heavy)


def test_data_tools_never_import_torch() -> None:
    code = "import data_tools.prepare.run, data_tools.train_tokenizer, data_tools.verify"
    assert not imported_by(code) & {"torch", "deepspeed", "transformers"}


def imported_by(code: str) -> set[str]:
    """Run `code` in a fresh interpreter and return the top-level modules it loaded."""
    script = (
        "import contextlib, io, sys\nfrom data_tools.__main__ import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    {code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())
