"""A small corpus with a known share of everything, and the doctor's answer as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.doctor.options import DoctorConfig
from data_tools.doctor.run import run

Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Return a function that runs the doctor and gives what it found."""

    def examine(*inputs: Path, **options: Any) -> dict[str, Any]:
        path = tmp_path / "found.json"
        run(DoctorConfig(input=tuple(map(str, inputs)), json=path, **options))
        return json.loads(path.read_text("utf-8"))

    return examine
