"""numba's compiler, without counting references and with a cache that notices every change.

Compiled functions here get all arrays from outside. Told so, numba does not count the references
to each array at each use, which would take most of the time.

numba takes a function from its cache on disk as long as the function's own file is unchanged; a
change in a file whose functions it calls goes unnoticed. So all sources of this package are part of
the name under which each function is cached.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_SOURCES = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
_DIGEST = sha256(_SOURCES).hexdigest()[:12]


def compiled(function: Function) -> Function:
    """Compile `function`, which must make no array, at its first call with new types."""
    function.__qualname__ += f"_{_DIGEST}"
    return numba.njit(cache=True, nogil=True, _nrt=False)(function)
