"""Compiled code on the disk is never older than the sources that it was made of."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from gpt2zh.text.kernels import compiled as kernels

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


def add_one(data: np.ndarray) -> int:
    return data[0] + 1


def fresh() -> types.FunctionType:
    """The same function, not compiled yet."""
    return types.FunctionType(add_one.__code__, globals(), "add_one")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Only a cache folder that is set can be written: not the code, not the home folder."""
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kernels.temporary_cache.cache_clear()
    yield tmp_path / f"gpt2zh-numba-{os.getuid()}"
    kernels.temporary_cache.cache_clear()


def test_read_only_code_is_cached_in_a_folder_of_this_user(read_only: Path) -> None:
    assert kernels.compiled(fresh())(np.arange(5, 8)) == 6
    assert stat.S_IMODE(read_only.stat().st_mode) == 0o700
    assert [path.suffix for path in read_only.rglob("*.nbi")] == [".nbi"]
    again = kernels.compiled(fresh())
    assert again(np.arange(5, 8)) == 6 and sum(again.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("how", ["a link", "open to all", "a file"])
def test_a_folder_that_somebody_else_prepared_is_not_trusted(read_only: Path, how: str) -> None:
    """Compiled code is loaded from it."""
    if how == "a link":
        (read_only.parent / "elsewhere").mkdir(mode=0o700)
        read_only.symlink_to(read_only.parent / "elsewhere")
    elif how == "a file":
        read_only.touch(mode=0o600)
    else:
        read_only.mkdir()
        read_only.chmod(0o777)
    assert kernels.compiled(fresh())(np.arange(5, 8)) == 6
    assert not list(read_only.parent.rglob("*.nbi"))


def test_without_any_folder_each_process_compiles(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert kernels.compiled(fresh())(np.arange(5, 8)) == 6


def test_a_full_disk_costs_only_the_cache(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert kernels.compiled(fresh())(np.arange(5, 8)) == 6
