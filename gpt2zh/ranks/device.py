"""The device of a rank, as a value: plans need nothing else that torch knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """One rank's GPU, or its share of the host."""

    name: str
    memory: int
    """Bytes that this rank may use."""
    is_gpu: bool


def host_memory(root: Path = Path("/")) -> int:
    """Return the free bytes of the host: of the machine, or of our container if that is less.

    Args:
        root: The folder that holds `proc` and `sys`.
    """
    found = [_of_machine(root / "proc" / "meminfo")]
    groups = root / "sys" / "fs" / "cgroup"
    mine = groups / _own_group(root / "proc" / "self" / "cgroup")
    for group in (mine, *mine.parents):  # a limit also holds for all groups below
        if group.is_relative_to(groups):
            found += _of_group(group)
    return max(0, min(found))


def _of_machine(meminfo: Path) -> int:
    try:
        lines = meminfo.read_text("ascii").splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux, or a Linux that hides it
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _own_group(membership: Path) -> str:
    """Return the path of this process among the groups of cgroup v2, whose number is 0."""
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        return ""
    paths = [line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")]
    # A path with ".." lies outside of what this process can see.
    return "".join(path for path in paths if ".." not in path)


def _of_group(group: Path) -> list[int]:
    """Return the bytes that a group has left, in a list; an empty one if it has no limit.

    The usage includes the page cache of inactive files, which the kernel frees when memory is
    needed (kernel docs, admin-guide/cgroup-v2.rst).
    """
    try:
        limit, taken = (
            (group / name).read_text("ascii") for name in ("memory.max", "memory.current")
        )
        stat = dict(
            line.split() for line in (group / "memory.stat").read_text("ascii").splitlines()
        )
        return [int(limit) - int(taken) + int(stat.get("inactive_file", 0))]
    except (OSError, ValueError):  # the root has no such files; without a limit it says "max"
        return []
