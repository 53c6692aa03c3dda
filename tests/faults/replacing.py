"""Replace a part of the code in this process, and notice if it has another name by now."""

from __future__ import annotations

from typing import Any


def replace(where: Any, name: str, value: Any) -> None:
    """Set an attribute of a module or class that has one of this name already."""
    assert hasattr(where, name), f"{where.__name__} has no {name} any more"
    setattr(where, name, value)
