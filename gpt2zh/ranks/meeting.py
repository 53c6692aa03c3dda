"""Let the ranks meet before they open their process group: say who is missing, refuse strangers.

torch waits in C++ for ranks that never come, silently and for hours. Here every rank joins the
key-value store that rank 0 serves, which is the one that torch uses afterwards, and shows at each
beat that it is alive. So the others notice who is missing and who has died. A rank of another run
that uses the same port is refused: the two runs would train together.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Sequence

import torch.distributed as dist

from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.port import is_served_by_launcher, port_taken
from gpt2zh.ranks.world import World

LIMIT = 1800.0
"""Seconds until the ranks that came end without those that did not."""
SAY = 15.0
"""Seconds between two messages about who is missing."""
SILENCE = 30.0
"""Seconds without a beat after which a rank that had joined is dead."""
BEAT = 1.0
"""Seconds between two signs of life of a rank that waits."""
_PAUSE = 0.05
_OPEN = "open"
_TIMEOUT = datetime.timedelta(seconds=20)


def meet(world: World, *, run: str = "") -> dist.TCPStore:
    """Wait until all ranks have joined the store at MASTER_ADDR and MASTER_PORT.

    Args:
        world: This rank's place.
        run: What all ranks of a run have in common, and ranks of other runs have not.

    Returns:
        The store; keep it until the process group is open, because rank 0 serves it.

    Raises:
        UserError: The port is taken, or this rank does not belong to the run that rank 0 starts.
        RunError: A rank died, or did not come.
    """
    return _Meeting(world, run).wait()


class _Meeting:
    """The view of one rank on those who have come."""

    def __init__(self, world: World, run: str) -> None:
        self._world = world
        self._run = run
        self._address, self._port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._token = secrets.token_hex(4)
        self._beats = 0
        self._joined = False
        self._beat_at = 0.0
        self._heard: dict[int, tuple[str, float]] = {}
        """The last beat of each rank that is watched, and our clock then."""
        self._begun = self._said = time.monotonic()

    def wait(self) -> dist.TCPStore:
        serves = self._world.is_main and not is_served_by_launcher()
        store = self._open(serves=True) if serves else self._connect()
        if self._world.size == 1:
            return store
        try:
            while not self._is_complete(store):
                self._pause(store)
        except RuntimeError as error:  # of torch: the server does not answer
            raise self._lost(f"rank 0 at {self._place} died while the ranks met") from error
        return store

    @property
    def _place(self) -> str:
        return f"{self._address}:{self._port}"

    def _open(self, *, serves: bool) -> dist.TCPStore:
        """Serve the store, or connect to it. With multi_tenant torch can serve from it, too."""
        try:
            return dist.TCPStore(
                self._address,
                self._port,
                self._world.size,
                is_master=serves,
                wait_for_workers=False,
                timeout=_TIMEOUT,
                multi_tenant=True,
            )
        except RuntimeError as error:
            if serves:
                raise UserError(port_taken(self._port, str(error).splitlines()[0])) from error
            raise

    def _connect(self) -> dist.TCPStore:
        """Connect to the store as soon as rank 0 serves it."""
        while True:
            with contextlib.suppress(OSError, RuntimeError):
                socket.create_connection((self._address, self._port), timeout=2).close()
                return self._open(serves=False)
            self._pause(None)

    def _is_complete(self, store: dist.TCPStore) -> bool:
        """Show that this rank lives, look at the others, and return whether all have come."""
        now = time.monotonic()
        if now - self._beat_at >= BEAT:
            self._beat_at = now
            self._beat(store)
            watched = range(self._world.size) if self._world.is_main else [0]
            for rank in watched:
                if rank != self._world.rank:
                    self._listen_to(store, rank, now)
        if not self._world.is_main:
            return store.check([_key(_OPEN)])
        if not store.check([_key(rank) for rank in range(self._world.size)]):
            return False
        if self._missing(store):
            return False
        store.set(_key(_OPEN), "1")
        return True

    def _beat(self, store: dist.TCPStore) -> None:
        self._beats += 1
        mine = {"host": platform.node(), "run": self._run, "token": self._token}
        text = json.dumps(mine | {"beats": self._beats})
        if not self._joined:
            found = store.compare_set(_key(self._world.rank), "", text).decode()
            if found != text and json.loads(found)["run"] == self._run:
                raise UserError(
                    f"rank {self._world.rank} has joined already, on "
                    f"{json.loads(found)['host']}: the same command was started twice, or two "
                    "launchers give the same RANK; end one of them"
                )
            self._joined = True
        store.set(_key(self._world.rank), text)

    def _listen_to(self, store: dist.TCPStore, rank: int, now: float) -> None:
        """Notice a rank that belongs to another run, or has died."""
        if not store.check([_key(rank)]):
            return
        text = store.get(_key(rank)).decode()
        found = json.loads(text)
        if found["run"] != self._run:
            if not self._world.is_main:
                raise UserError(
                    f"rank {self._world.rank} found another run at {self._place}: its rank 0 has "
                    "other options than this rank. Give each run a port of its own (deepspeed "
                    "--master_port, MASTER_PORT), and all ranks of a run the same command line"
                )
            return
        before, since = self._heard.get(rank, ("", now))
        if text != before:
            self._heard[rank] = text, now
        elif now - since > SILENCE:
            raise self._lost(f"rank {rank} on {found['host']} died while the ranks met")

    def _missing(self, store: dist.TCPStore | None) -> list[int]:
        """Return the ranks that have not come, as far as this rank knows."""
        if store is None:
            return [0]
        return [rank for rank in range(self._world.size) if not self._has_come(store, rank)]

    def _has_come(self, store: dist.TCPStore, rank: int) -> bool:
        key = _key(rank)
        return store.check([key]) and json.loads(store.get(key).decode())["run"] == self._run

    def _pause(self, store: dist.TCPStore | None) -> None:
        """Wait a moment, say now and then who is missing, and give up after `LIMIT`."""
        time.sleep(_PAUSE)
        now = time.monotonic()
        if now - self._said < SAY:
            return
        self._said = now
        seconds = round(now - self._begun)
        missing = self._missing(store)
        speaks = self._world.is_main or 0 in missing
        if missing and speaks:
            print(
                f"waiting for {len(missing)} of {self._world.size} ranks: {_listed(missing)} "
                f"({seconds} s; rank {self._world.rank} on {platform.node()} waits at "
                f"{self._place})",
                file=sys.stderr,
                flush=True,
            )
        if now - self._begun > LIMIT:
            raise self._lost(f"ranks {_listed(missing)} did not come to {self._place}")

    def _lost(self, what: str) -> RunError:
        return RunError(
            Exit.LOST_RANK,
            f"{what} (MASTER_ADDR and MASTER_PORT, seen from rank {self._world.rank} of "
            f"{self._world.size}); start all ranks again",
            is_everywhere=False,
        )


def _key(what: int | str) -> str:
    """Return the key of a rank, or of `_OPEN`, in this attempt.

    The store of torchrun outlives its workers: after a restart it still holds what they wrote.
    """
    return f"meeting/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{what}"


def _listed(ranks: Sequence[int]) -> str:
    """Return ranks as a list for a message, with at most eight of them."""
    shown = ", ".join(map(str, ranks[:8]))
    return f"{shown} and {len(ranks) - 8} more" if len(ranks) > 8 else shown
