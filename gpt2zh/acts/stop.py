"""`gpt2zh stop`: ask one run to save and end, wherever it trains.

The request is a file in the run folder with the key of the lock's owner: rank 0 looks for it. So it
reaches a run on another machine, never a launcher, and never the next run in the same folder.
"""

from __future__ import annotations

import time
from pathlib import Path

from gpt2zh.acts.options import StopConfig
from gpt2zh.config.errors import UserError
from gpt2zh.files.durable import write_whole
from gpt2zh.files.lock import LOCK, STOP, Owner, name_owner, read_owner
from gpt2zh.files.owners import explain_unwritable

ANSWER = 20.0
"""Seconds in which a run must answer; it looks every second, but a shared disk may be slow."""


def run(config: StopConfig) -> int:
    """Ask the run to stop, wait for its answer, and say what happens; return the exit code.

    Raises:
        UserError: No run holds the folder, or the request cannot be written.
    """
    owner = _owner_of(config.run)
    request = config.run / STOP
    try:
        write_whole(request, f"{owner['key']}\n")
    except OSError as error:
        raise UserError(
            f"the request cannot be written: {explain_unwritable(error, request)}"
        ) from error
    print(f"asked {name_owner(owner)} to stop; waiting for its answer", flush=True)
    begun = time.monotonic()
    while time.monotonic() - begun < ANSWER:
        if not request.exists():
            print(
                f"{config.run} stops: it saves the last step and ends with exit code 75, or ends "
                "at once if it has not taken a step yet. The same command continues it"
            )
            return 0
        time.sleep(0.1)
    request.unlink(missing_ok=True)
    print(
        f"no answer within {ANSWER:.0f} s: the process has ended without releasing the folder "
        "(kill -9, power cut), it hangs, or its machine does not see this disk. The request is "
        "withdrawn and nothing was changed"
    )
    return 1


def _owner_of(run: Path) -> Owner:
    if not run.is_dir():
        raise UserError(f"{run} is not a folder; give the --output of the run")
    try:
        owner = read_owner(run / LOCK)
    except FileNotFoundError:
        owner = {}
    except OSError as error:
        raise UserError(f"{run / LOCK} cannot be read: {error.strerror}") from error
    if not owner:
        raise UserError(f"no run uses {run} now: {run / LOCK} names no process")
    if not isinstance(owner.get("key"), str):
        raise UserError(
            f"{name_owner(owner)} was started by an earlier version, which has no `gpt2zh stop`; "
            "send SIGTERM to its ranks there"
        )
    return owner
