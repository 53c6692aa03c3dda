"""Many files as a few lines: the folder that holds all, and a name for each file's group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath, PurePosixPath

MOST = 20
"""Lines that a reader can still take in."""


def shared_folder(paths: Sequence[PurePath]) -> PurePosixPath:
    """Return the deepest folder that holds all files; `.` if there is none."""
    shared: list[str] = []
    for parts in zip(*(path.parent.parts for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return PurePosixPath(*shared)


def name_below(path: PurePath, root: PurePosixPath) -> str:
    """Return the path of a file below a folder that holds it."""
    return (path.relative_to(root) if root.parts else path).as_posix()


def name_groups(
    paths: Sequence[PurePath], sizes: Sequence[int], *, most_files: int = MOST
) -> list[str]:
    """Return the name of each file's group; there are at most `MOST` groups.

    A group is a file, or a folder as deep as the number of groups allows. Where even the folders at
    the top are too many, the largest are a group each and the others share one.

    Args:
        paths: The files.
        sizes: Their bytes.
        most_files: More files than these are grouped by folders.
    """
    root = shared_folder(paths)
    names = [name_below(path, root) for path in paths]
    if len(paths) <= most_files:
        return names
    folders = [PurePosixPath(name).parent.parts for name in names]
    for depth in range(max(map(len, folders)), 0, -1):
        if len({folder[:depth] for folder in folders}) <= MOST:
            return ["/".join((*folder[:depth], "")) or "./" for folder in folders]
    tops = ["/".join((*folder[:1], "")) or "./" for folder in folders]
    whole: dict[str, int] = {}
    for top, size in zip(tops, sizes, strict=True):
        whole[top] = whole.get(top, 0) + size
    large = set(sorted(whole, key=lambda name: (-whole[name], name))[: MOST - 1])
    if len(whole) <= MOST:
        return tops
    others = f"{len(whole) - len(large)} other folders/"
    return [top if top in large else others for top in tops]
