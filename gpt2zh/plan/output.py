"""Check the folder of a run before anything is written: a lock and logs go there at once."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator

from gpt2zh.config.errors import raise_all
from gpt2zh.config.schema import TrainingConfig
from gpt2zh.data.manifest import MANIFEST
from gpt2zh.files.lock import LOCK
from gpt2zh.files.owners import explain_unwritable


def check_output(config: TrainingConfig) -> None:
    """Check that `output` can be the folder of a run, whatever is in it.

    Raises:
        UserError: With everything that is wrong.
    """
    raise_all(list(_faults(config)), "the output folder")


def _faults(config: TrainingConfig) -> Iterator[str]:
    run = config.output
    shown = ascii(str(run))
    if any(unicodedata.category(character) == "Cc" for character in str(run)):
        yield f"--output {shown} contains a line break or another control character; rename it"
        return
    if (run / MANIFEST).is_file():
        yield (
            f"--output {run} holds shards or is a checkpoint ({run / MANIFEST}); a run needs a "
            "folder of its own, such as runs/first"
        )
    for place in (run, *run.parents):
        if place.is_symlink() and not place.exists():
            yield f"--output {run}: {place} is a link to a folder that does not exist; make it"
    lock = run / LOCK
    if lock.exists() and not os.access(lock, os.W_OK):
        error = PermissionError(13, os.strerror(13), str(lock))
        yield f"--output {run} cannot be used: {explain_unwritable(error, lock)}"
