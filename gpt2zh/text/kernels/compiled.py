"""numba's compiler, without counting references and with a cache that notices every change.

numba takes a function from its cache on disk as long as the function's own file is unchanged; a
change in a file whose functions it calls goes unnoticed. So the sources of this package, and of all
modules from which compiled functions are imported, are part of the name under which each function
is cached.

numba caches next to the code or in the home folder. Where neither can be written, as in a container
with read-only code, a folder for temporary files is used, which all workers share.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

Function = TypeVar("Function", bound=Callable[..., Any])

_HERE = tuple(str(path) for path in sorted(Path(__file__).parent.glob("*.py")))


def compiled(function: Function) -> Function:
    """Compile `function`, which must not create an array, at its first call with new types.

    All arrays come from outside. numba then does not count the references to each array at each
    use, which would take most of the time.
    """
    return _compile(function, _nrt=False)


def compiled_with_arrays(function: Function) -> Function:
    """Compile `function`, which may create arrays or views of them, at its first call."""
    return _compile(function)


def _compile(function: Function, **options: Any) -> Function:
    function.__qualname__ += f"_{_sources_digest(function)}"
    dispatcher = numba.njit(nogil=True, **options)(function)
    with contextlib.suppress(RuntimeError):  # no folder can be written: each process compiles
        dispatcher._cache = _find_cache(function)
    return dispatcher


class _Cache(FunctionCache):
    """numba's cache of a function, which a full disk or quota does not end."""

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled function, if the disk takes it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def _find_cache(function: Callable[..., Any]) -> _Cache:
    """Return the cache of a function.

    Raises:
        RuntimeError: Of numba; no folder can be written.
    """
    try:
        return _Cache(function)
    except RuntimeError:
        if (folder := temporary_cache()) is None:
            raise
        numba.config.CACHE_DIR = str(folder)
        return _Cache(function)


@cache
def temporary_cache() -> Path | None:
    """Make a folder for compiled code that only this user can write; None if there cannot be one.

    Code is loaded from it, so nobody else may have made it.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"gpt2zh-numba-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if is_ours and not found.st_mode & 0o077 else None


def _sources_digest(function: Callable[..., Any]) -> str:
    """Hash this package, and each module that the function's module imports compiled code from."""
    digest = sha256(b"".join(map(_file_digest, _HERE)))
    for value in function.__globals__.values():
        if isinstance(value, Dispatcher) and value.py_func.__module__ != function.__module__:
            digest.update(_file_digest(value.py_func.__code__.co_filename))
            digest.update(value.py_func.__qualname__.encode())  # it holds what that one imports
    return digest.hexdigest()[:12]


@cache
def _file_digest(path: str) -> bytes:
    return sha256(Path(path).read_bytes()).digest()
