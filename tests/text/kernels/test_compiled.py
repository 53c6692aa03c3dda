"""Compiled code on the disk is never older than the sources that it was made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
HEAD = "import numpy as np\nfrom gpt2zh.text.kernels.compiled import compiled\n"
CALLEE = f"{HEAD}@compiled\ndef inner(data):\n    return data[0] + 1\n"
MIDDLE = (
    f"{HEAD}from callee import inner\n@compiled\ndef middle(data):\n    return inner(data) * 2\n"
)
CALLER = (
    f"{HEAD}from middle import middle\n@compiled\ndef outer(data):\n    return middle(data)\n"
    "print(outer(np.arange(5, 8)), sum(outer.stats.cache_hits.values()))\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three modules, each calling compiled code of the next."""
    for name, text in (("callee", CALLEE), ("middle", MIDDLE), ("caller", CALLER)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def call(folder: Path) -> tuple[int, int]:
    """Call the outer function in a new process; return its result and how often the cache hit."""
    done = subprocess.run(
        [sys.executable, "-B", "caller.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    result, hits = map(int, done.stdout.split())
    return result, hits


@pytest.mark.slow
def test_an_unchanged_function_comes_from_the_cache(folder: Path) -> None:
    assert call(folder) == (12, 0)
    assert call(folder) == (12, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new"), [("callee", "+ 1", "+ 2"), ("middle", "* 2", "* 3")]
)
def test_a_change_in_a_called_module_is_noticed(
    folder: Path, name: str, old: str, new: str
) -> None:
    call(folder)
    path = folder / f"{name}.py"
    path.write_text(path.read_text().replace(old, new))
    assert call(folder) == ({"callee": 14, "middle": 18}[name], 0)


def test_every_compiled_function_goes_through_these_decorators() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for room in ("gpt2zh", "data_tools")
        for path in (ROOT / room).rglob("*.py")
        if "njit(" in path.read_text("utf-8")
    ]
    assert found == ["gpt2zh/text/kernels/compiled.py"]


def test_arrays_are_created_only_where_that_is_declared() -> None:
    from numba.core.errors import NumbaError

    from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays

    def zeros(count: int) -> np.ndarray:
        return np.zeros(count, np.int64)

    def ones(count: int) -> np.ndarray:
        return np.ones(count, np.int64)

    assert compiled_with_arrays(ones)(3).tolist() == [1, 1, 1]
    with pytest.raises((NumbaError, RuntimeError)):
        compiled(zeros)(3)
