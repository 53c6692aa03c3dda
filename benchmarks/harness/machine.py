"""Facts about the machine and the checkout, which every report holds."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def facts(*packages: str, on_gpu: bool = False) -> dict[str, Any]:
    """Return device, cores, system, Python, the versions of some packages, and the commit."""
    versions = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "device": device_name(on_gpu=on_gpu),
        "on_gpu": on_gpu,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit(),
    }


def heading(machine: dict[str, Any]) -> str:
    """Return the line of a report that names the machine."""
    versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items())
    return (
        f"{machine['device']}, {machine['cores']} cores; Python {machine['python']}, {versions}; "
        f"commit {machine['commit'] or 'unknown'}."
    )


def device_name(*, on_gpu: bool) -> str:
    """Return the name of the GPU, or of the processor."""
    if on_gpu:
        import torch

        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the commit of this checkout, marked if files differ from it; None without git."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    with contextlib.suppress(OSError):
        done = subprocess.run([*asked, "--exclude=*"], capture_output=True, text=True)
        return done.stdout.strip() or None
    return None
