"""What a rank computes on, as a value: plans ask for nothing else of torch."""

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
    """Bytes of the host that nobody else takes now: of the machine, or of our container if less.

    Args:
        root: Where `proc` and `sys` lie.
    """
    found = [_of_machine(root / "proc" / "meminfo")]
    groups = root / "sys" / "fs" / "cgroup"
    mine = groups / _own_group(root / "proc" / "self" / "cgroup")
    for group in (mine, *mine.parents):  # the limit of a group holds for those within
        if group.is_relative_to(groups):
            found += _of_group(group)
    return max(0, min(found))


def _of_machine(meminfo: Path) -> int:
    try:
        lines = meminfo.read_text("ascii").splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):  # no Linux, or one that hides it
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _own_group(membership: Path) -> str:
    """This process's path among the groups of cgroup v2, whose number is 0."""
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        return ""
    paths = [line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")]
    return "".join(path for path in paths if ".." not in path)  # ..: beyond what we can see


def _of_group(group: Path) -> list[int]:
    """What a group has left, in a list that is empty where it has no limit.

    Files that were read are counted to it as well, but make room at once (the kernel's docs,
    admin-guide/cgroup-v2.rst).
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
