"""Where every rank stands, and what ends all of them when one dies or hangs.

The main thread leaves a mark at each phase of its work. A thread beside it tells the marks to the
other ranks through torch's key-value store and reads theirs. A rank that no longer tells anything
is dead; one whose marks stand still hangs. Then all ranks end, and the message names the rank, its
last phase and its Python stack. Collectives cannot do this: they wait for the very rank that will
never come.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.world import World

_LAST_WORDS = 5.0  # seconds that the other ranks wait for the one that prints


class Store(Protocol):
    """The part of torch.distributed.Store that is used here."""

    def set(self, key: str, value: str) -> None:
        """Set a key for all ranks."""

    def get(self, key: str) -> bytes:
        """The value of a key; waits until there is one."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """The values of keys, in one question; waits until there are all."""

    def check(self, keys: list[str]) -> bool:
        """Whether all these keys are set."""


@dataclass
class Standing:
    """What is known of one rank."""

    phase: str = "starting"
    step: int = 0
    marks: int = 0
    """Marks that its main thread has left; all ranks leave the same ones."""
    signs: int = 0
    """Signs of progress within a phase."""
    host: str = ""
    changed_at: float = 0.0
    """Our clock when marks or signs last grew."""
    heard_at: float = 0.0
    """Our clock at its last sign of life."""
    beats: int = -1
    """Signs of life so far."""


class Watch:
    """The marks of this rank, and a thread that compares them with those of the others."""

    beat = 1.0
    """Seconds between two looks at the others."""
    silence = 30.0
    """Seconds without a sign of life after which a rank is dead; a long import can take some."""
    short_silence = 6.0
    """The same once a collective has failed, for then somebody is gone."""

    def __init__(self, world: World, *, folder: Path, hang_after: float) -> None:
        """Begin to take marks; nothing is compared before `start`.

        Args:
            world: This rank's place.
            folder: Where stacks are written, on a disk that all ranks see.
            hang_after: Seconds without any mark after which a rank hangs; 0 for never.
        """
        self.phase = "starting"
        self.background = ""
        """What the thread that writes checkpoints does."""
        self.step = 0
        self.marks = 0
        self.signs = 0
        self._world = world
        self._stack_file = folder / f"stack-of-rank-{world.rank:05d}.txt"
        self._hang_after = hang_after
        self._store: Store | None = None
        self._known = [Standing() for _ in range(world.size)]
        self._main = threading.main_thread().ident
        self._leaving = threading.Event()
        self._looked = 0.0
        """Our clock at the last look at the others."""
        self._threads: list[threading.Thread] = []
        self._beats = 0
        self._all_there = False
        self._files: list[Any] = []

    def mark(self, phase: str) -> None:
        """Say what the main thread does from here on; every rank says the same, in one order."""
        self.phase = phase
        self.marks += 1

    def note(self, what: str) -> None:
        """Say what the thread that writes checkpoints does; a sign that it goes on."""
        self.background = what
        self.signs += 1

    def start(self, store: Store) -> None:
        """Tell the others and watch them until `stop`."""
        self._store = store
        self._begin_anew()
        self._tell()
        for work in (self._run, self._guard):
            self._threads.append(threading.Thread(target=work, name="watch", daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """Watch no longer; the others may now end in any order."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(_LAST_WORDS)  # the store may not answer
        if self._threads:
            faulthandler.cancel_dump_traceback_later()
        for file in self._files:
            file.close()
        with contextlib.suppress(OSError):
            self._stack_file.unlink()
            self._stack_file.parent.rmdir()

    def explain_lost_rank(self, *, wait: float) -> str | None:
        """What happened to another rank, for one whose collective has failed.

        Args:
            wait: Seconds to find out.
        """
        if self._store is None or self._world.size == 1:
            return None
        begun = time.monotonic()
        while time.monotonic() - begun < wait:
            for rank in range(self._world.size):
                if rank == self._world.rank:
                    continue
                standing = self._known[rank]
                try:
                    crash = self._ask(f"crash/{rank}")
                except RuntimeError:  # the store is on rank 0
                    first = self._known[0]
                    return f"rank 0{_place(first)} died {_doing(first)}"
                if crash:
                    return f"rank {rank} crashed: {crash}"
                silent = time.monotonic() - max(standing.heard_at, begun)
                if silent > self.short_silence:
                    return f"rank {rank}{_place(standing)} died {_doing(standing)}"
            time.sleep(0.2)
        return None

    def report_crash(self, error: BaseException) -> None:
        """Let the other ranks know why this one will end."""
        if self._store is not None:
            text = f"{type(error).__name__}: {str(error)[:500]} (while {self.phase})"
            with contextlib.suppress(RuntimeError):
                self._store.set(f"crash/{self._world.rank}", text)

    # The threads

    def _begin_anew(self) -> None:
        """Take every rank for alive and moving now."""
        now = self._looked = time.monotonic()
        for standing in self._known:
            standing.changed_at = standing.heard_at = now

    def _leaves(self) -> bool:
        """Wait for the next look; whether there will be none."""
        begun = time.monotonic()
        leaves = self._leaving.wait(self.beat)
        if time.monotonic() - begun > self.silence / 2:
            self._begin_anew()  # this process was stopped, perhaps with the others: Ctrl-Z and `fg`
        return leaves

    def _guard(self) -> None:
        """End this process when the store stays silent: its calls can wait for ever."""
        while not self._leaves():
            if time.monotonic() - self._looked > self.silence:
                self._print(0, "died")
                os._exit(Exit.LOST_RANK)

    def _run(self) -> None:
        while not self._leaves():
            now = time.monotonic()  # the store may answer late, and then with news that are old
            try:
                self._tell()
                self._listen()
            except MemoryError:
                continue  # the main thread will meet it too, and tell
            except RuntimeError:  # the store is on rank 0
                self._end(Exit.LOST_RANK, [0], "died")
            if self._leaving.is_set():
                return
            self._looked = time.monotonic()
            silent = {rank: now - s.heard_at for rank, s in enumerate(self._known)}
            if max(silent.values()) > self.silence:
                dead = [rank for rank, seconds in silent.items() if seconds > self.silence / 2]
                self._end(Exit.LOST_RANK, dead, "died")
            # A rank may wait for long, as long as another one goes on: writes a checkpoint, say.
            still = min(now - standing.changed_at for standing in self._known)
            if self._hang_after and still > self._hang_after:
                least = min(standing.marks for standing in self._known)
                behind = [r for r, s in enumerate(self._known) if s.marks == least]
                alone = len(behind) < len(self._known)
                self._end(Exit.HUNG, behind, "hangs" if alone else "stands still like all others")

    def _tell(self) -> None:
        self._beats += 1
        told = {
            "phase": self.phase,
            "step": self.step,
            "marks": self.marks,
            "signs": self.signs,
            "host": platform.node(),
            "beats": self._beats,
        }
        assert self._store is not None
        self._store.set(f"standing/{self._world.rank}", json.dumps(told))

    def _listen(self) -> None:
        now = time.monotonic()
        for standing, heard in zip(self._known, self._heard(), strict=True):
            if heard is None:
                continue
            told = json.loads(heard)
            if told["beats"] != standing.beats:
                standing.heard_at = now
            if (told["marks"], told["signs"]) != (standing.marks, standing.signs):
                standing.changed_at = now
            for name, value in told.items():
                setattr(standing, name, value)
        mine = self._known[self._world.rank]
        mine.heard_at = now
        if self._hang_after:
            # By a thread of C, which also sees a main thread that never gives up Python's lock.
            left = max(1.0, self._hang_after - (now - mine.changed_at) - self.beat / 2)
            # Nor can we tell anything meanwhile: soon the others will take us for dead.
            self._dump_stack_in(min(left, self.silence - 2 * self.beat))

    def _heard(self) -> list[str | None]:
        """What each rank has told last: in one question, once all of them have told something."""
        assert self._store is not None
        keys = [f"standing/{rank}" for rank in range(self._world.size)]
        self._all_there = self._all_there or self._store.check(keys)
        if self._all_there:
            return [value.decode() for value in self._store.multi_get(keys)]
        return [self._ask(key) for key in keys]

    def _dump_stack_in(self, seconds: float) -> None:
        if not self._files:
            try:
                self._stack_file.parent.mkdir(parents=True, exist_ok=True)
                self._files.append(self._stack_file.open("w", encoding="utf-8"))
            except OSError:
                self._files.append(open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        with contextlib.suppress(RuntimeError):  # no memory for a thread: no stack, then
            faulthandler.dump_traceback_later(seconds, file=self._files[0])

    def _ask(self, key: str) -> str | None:
        assert self._store is not None
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _end(self, code: Exit, ranks: list[int], what: str) -> None:
        """End this process; the lowest rank that is not to blame says why."""
        if self._leaving.is_set():
            return
        self._looked = time.monotonic() + 3 * _LAST_WORDS  # the guard shall wait for that
        others = [rank for rank in range(self._world.size) if rank not in ranks]
        me = self._world.rank
        if me in ranks:
            with contextlib.suppress(RuntimeError):
                assert self._store is not None
                self._store.set(f"stack/{me}", self._stack())
        if me == (others or ranks)[0]:
            for rank in ranks:
                self._say(rank, what)
            with contextlib.suppress(RuntimeError):
                assert self._store is not None
                self._store.set("told", "")
        else:
            self._wait_for(lambda: self._ask("told") is not None)
        faulthandler.cancel_dump_traceback_later()
        if me == 0:
            time.sleep(self.beat)  # the store ends with this process
        os._exit(code)

    def _say(self, rank: int, what: str) -> None:
        stack = None
        if what != "died":
            self._wait_for(lambda: self._ask(f"stack/{rank}") is not None)
            with contextlib.suppress(RuntimeError):
                stack = self._ask(f"stack/{rank}")
        if stack is None:
            path = self._stack_file.with_name(f"stack-of-rank-{rank:05d}.txt")
            with contextlib.suppress(OSError):
                stack = path.read_text("utf-8").rstrip() or None
        self._print(rank, what)
        print(
            stack or "It does not tell its stack: the process is stopped or gone.",
            file=sys.stderr,
            flush=True,
        )

    def _print(self, rank: int, what: str) -> None:
        standing = self._known[rank]
        since = round(time.monotonic() - standing.changed_at)
        print(
            f"error: rank {rank}{_place(standing)} {what} {_doing(standing)}, where it has been "
            f"for {since} s; all ranks end now. Start again to continue from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )

    def _wait_for(self, holds: Callable[[], bool]) -> None:
        begun = time.monotonic()
        with contextlib.suppress(RuntimeError):
            while not holds() and time.monotonic() - begun < _LAST_WORDS:
                time.sleep(0.1)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._main or 0)
        return "".join(traceback.format_stack(frame)).rstrip() if frame else ""


def _place(standing: Standing) -> str:
    return f" on {standing.host}" if standing.host else ""


def _doing(standing: Standing) -> str:
    return f"while {standing.phase} (step {standing.step})"
