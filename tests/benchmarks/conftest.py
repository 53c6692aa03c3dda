"""Run a benchmark as its command line does; its arms start processes of their own."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[dict[str, Any], str]]:
    """Return a function that gives the figures and tables of a benchmark.

    It must end with the exit code `code`, and `--table` must print the same tables again.
    """

    def measure(name: str, *options: str, code: int = 0) -> tuple[dict[str, Any], str]:
        out = tmp_path / "out.json"
        benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
        printed = []
        for option, expected in (("json", code), ("table", 0)):
            monkeypatch.setattr(sys, "argv", [name, *options, f"--{option}={out}"])
            assert benchmark.main() == expected
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
        return json.loads(out.read_text("utf-8")), printed[0]

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # undone again, as main() sets it
    return measure
