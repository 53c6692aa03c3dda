"""Warn at the end of a preparation of files that could be read only in part."""

from __future__ import annotations

import sys
from pathlib import Path

from data_tools.sources.stream import DAMAGED
from gpt2zh.config.errors import printable
from gpt2zh.data.manifest import ASIDE, SET_ASIDE, Manifest
from gpt2zh.pages.numbers import plural

_SHOWN = 10


def find_damaged(manifest: Manifest) -> list[str]:
    """Return the paths of sources of which a part could not be read."""
    return [source.path for source in manifest.sources if ASIDE + DAMAGED in source.fates]


def warn_of_damage(manifest: Manifest, output: Path) -> None:
    """Print a warning to stderr if sources are damaged."""
    paths = find_damaged(manifest)
    if not paths:
        return
    shown = ", ".join(paths[:_SHOWN])
    shown += f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    files = plural(len(paths), "file is", "files are", show=str)
    text = (
        f"warning: {files} damaged, and what lies behind the damage is missing in these shards: "
        f"{shown}; {output / SET_ASIDE} says where each one ends; to have all of the text, get "
        "complete copies and prepare again with --overwrite"
    )
    print(printable(text), file=sys.stderr)
