"""Optional packages: whether they are there, and in which version, without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def missing_fault(flag: str, package: str) -> str:
    """Return the sentence for an option whose package is not installed."""
    return f"{flag} needs the package {package}, which is not installed; pip install -e '.[clean]'"


def version(package: str) -> str:
    """Return the version of an installed package."""
    return importlib.metadata.version(package)
