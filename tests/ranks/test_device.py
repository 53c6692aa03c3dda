"""The memory of the host that a rank may use, by the files in which Linux tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2zh.ranks.device import host_memory

GIB = 2**30


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A machine with 64 GiB that nobody takes, and the groups /a/b of cgroup v2 without limits."""
    write(tmp_path / "proc" / "meminfo", f"MemTotal: 1 kB\nMemAvailable: {64 * 2**20} kB\n")
    write(tmp_path / "proc" / "self" / "cgroup", "4:memory:/elsewhere\n0::/a/b\n")
    for group in ("a", "a/b"):
        limit(tmp_path, group, "max", taken=GIB)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def limit(host: Path, group: str, most: int | str, *, taken: int, files: int = 0) -> None:
    folder = host / "sys" / "fs" / "cgroup" / group
    write(folder / "memory.max", f"{most}\n")
    write(folder / "memory.current", f"{taken}\n")
    write(folder / "memory.stat", f"anon {taken - files}\ninactive_file {files}\n")


def test_without_limits_it_is_what_the_machine_has_left(host: Path) -> None:
    assert host_memory(host) == 64 * GIB


@pytest.mark.parametrize("group", ["a", "a/b"])
def test_a_container_smaller_than_the_machine_counts(host: Path, group: str) -> None:
    limit(host, group, 16 * GIB, taken=6 * GIB)
    assert host_memory(host) == 10 * GIB
    limit(host, group, 16 * GIB, taken=6 * GIB, files=5 * GIB)  # which make room at once
    assert host_memory(host) == 15 * GIB
    limit(host, group, 999 * GIB, taken=6 * GIB)
    assert host_memory(host) == 64 * GIB


def test_in_a_container_that_sees_itself_as_the_root(host: Path) -> None:
    write(host / "proc" / "self" / "cgroup", "0::/\n")
    limit(host, "", 8 * GIB, taken=GIB)
    assert host_memory(host) == 7 * GIB


def test_a_machine_that_tells_nothing_has_what_its_system_says(tmp_path: Path) -> None:
    assert host_memory(tmp_path) > 2**28
