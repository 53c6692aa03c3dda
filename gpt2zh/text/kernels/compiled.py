"""numba's compiler, without counting references and with a cache that notices every change.

numba takes a function from its cache on disk as long as the function's own file is unchanged; a
change in a file whose functions it calls goes unnoticed. So the sources of this package, and of all
modules from which compiled functions are imported, are part of the name under which each function
is cached.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
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
    return numba.njit(cache=True, nogil=True, **options)(function)


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
