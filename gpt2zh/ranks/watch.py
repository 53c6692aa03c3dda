"""End all ranks when one of them dies or hangs, and say which one it was and where.

The main thread sets a mark at each phase of its work. A second thread publishes the marks to the
other ranks through torch's key-value store and reads theirs. A rank that stops publishing is dead;
if no rank sets a new mark for `hang_after` seconds, those with the fewest marks hang. Then all
ranks end, and the message gives the rank, its last phase and its Python stack.

The time limits of collectives cannot do this: every rank waits for the one that never comes, and
the error does not say for which. The torture tests let their faults strike at the same marks, so a
new phase with a mark is watched and tested at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.stacks import StackFile, format_main_stack
from gpt2zh.ranks.standing import Board, Store
from gpt2zh.ranks.world import World

_LAST_WORDS = 5.0  # seconds that the other ranks wait for the one that prints


class Watch:
    """The marks of this rank, and the threads that compare them with those of the others."""

    beat = 1.0
    """Seconds between two looks at the others."""
    silence = 30.0
    """Seconds without a sign of life after which a rank is dead; a long import can take some."""
    short_silence = 6.0
    """The same after a collective has failed, because then some rank has gone."""

    def __init__(self, world: World, *, folder: Path, hang_after: float) -> None:
        """Begin to take marks; nothing is compared before `start`.

        Args:
            world: This rank's place.
            folder: Where stacks are written, on a disk that all ranks see.
            hang_after: Seconds without any mark after which a rank hangs; 0 for never.
        """
        self.phase = "starting"
        self.step = 0
        self.marks = 0
        self.notes = 0
        self.find_cause: Callable[[], str] = lambda: ""
        """Returns what may have ended a rank, or an empty text; called when one has died."""
        self._world = world
        self._hang_after = hang_after
        self._stack = StackFile(folder, rank=world.rank)
        self._board: Board | None = None
        self._leaving = threading.Event()
        self._looked = 0.0
        """Our clock at the last look at the others."""
        self._threads: list[threading.Thread] = []

    def mark(self, phase: str) -> None:
        """Set what the main thread does from here on; every rank sets the same marks in order."""
        self.phase = phase
        self.marks += 1

    def note(self, what: str) -> None:
        """Count a sign of progress of the thread that writes checkpoints.

        Args:
            what: What that thread does now; subclasses may use it.
        """
        del what
        self.notes += 1

    def start(self, store: Store) -> None:
        """Publish this rank's marks and watch the others until `stop`."""
        self._board = Board(store, self._world)
        self._looked = time.monotonic()
        self._publish(self._board)
        for work in (self._compare, self._guard):
            thread = threading.Thread(target=work, args=(self._board,), name="watch", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop watching; after this the other ranks may end in any order."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(_LAST_WORDS)  # the store may not answer
        if self._threads:
            self._stack.cancel()
        self._stack.remove()

    def explain_lost_rank(self, *, wait: float) -> str | None:
        """Return what happened to another rank, after a collective of this one has failed.

        Args:
            wait: Seconds to find out.

        Returns:
            Which rank crashed or died, and where; None if all others are alive.
        """
        if self._board is None or self._world.size == 1:
            return None
        begun = time.monotonic()
        while time.monotonic() - begun < wait:
            for rank, standing in enumerate(self._board.standings):
                if rank == self._world.rank:
                    continue
                try:
                    crash = self._board.get(f"crash/{rank}")
                except RuntimeError:  # rank 0, which serves the store, has gone
                    first = self._board.standings[0]
                    return f"rank 0{first.place} died {first.activity}"
                if crash:
                    return f"rank {rank} crashed: {crash}"
                silent = time.monotonic() - max(standing.heard_at, begun)
                if silent > self.short_silence:
                    return f"rank {rank}{standing.place} died {standing.activity}"
            time.sleep(0.2)
        return None

    def report_crash(self, error: BaseException) -> None:
        """Publish why this rank is about to end."""
        if self._board is not None:
            text = f"{type(error).__name__}: {str(error)[:500]} (while {self.phase})"
            with contextlib.suppress(RuntimeError):
                self._board.put(f"crash/{self._world.rank}", text)

    # The threads

    def _wait_for_next_look(self, board: Board, since: float) -> bool:
        """Wait one beat; return whether to go on.

        Args:
            board: Is told that all ranks live if this thread has not looked for long.
            since: Our clock when this thread last looked.
        """
        leaving = self._leaving.wait(self.beat)
        if time.monotonic() - since > self.silence / 2:
            # This process was stopped, perhaps with all the others (Ctrl-Z and `fg`), here or
            # while it asked the store. So that they were silent meanwhile proves nothing.
            board.reset()
            self._looked = time.monotonic()
        return not leaving

    def _guard(self, board: Board) -> None:
        """End this process when the store stays silent: calls to it can wait without end."""
        while self._wait_for_next_look(board, time.monotonic()):
            if time.monotonic() - self._looked > self.silence:
                self._print_blame(board, 0, "died")
                os._exit(Exit.LOST_RANK)

    def _compare(self, board: Board) -> None:
        """Publish and read at every beat, and end this process when a rank is dead or hangs."""
        now = time.monotonic()
        while self._wait_for_next_look(board, now):
            now = time.monotonic()  # before the store answers: it may be late, and its news old
            try:
                self._publish(board)
                board.read_all()
                self._request_stack(board)
            except MemoryError:
                continue  # the main thread will meet it too, and report it
            except RuntimeError:  # rank 0, which serves the store, has gone
                self._end(board, Exit.LOST_RANK, [0], "died")
            if self._leaving.is_set():
                return
            self._looked = time.monotonic()
            silent = [now - standing.heard_at for standing in board.standings]
            if max(silent) > self.silence:
                dead = [rank for rank, seconds in enumerate(silent) if seconds > self.silence / 2]
                self._end(board, Exit.LOST_RANK, dead, "died")
            # A rank may wait for long while another one makes progress: writes a checkpoint, say.
            still = min(now - standing.changed_at for standing in board.standings)
            if self._hang_after and still > self._hang_after:
                least = min(standing.marks for standing in board.standings)
                behind = [r for r, s in enumerate(board.standings) if s.marks == least]
                everywhere = len(behind) == len(board.standings)
                what = "makes no progress, like all others," if everywhere else "hangs"
                self._end(board, Exit.HUNG, behind, what)

    def _publish(self, board: Board) -> None:
        board.publish(phase=self.phase, step=self.step, marks=self.marks, notes=self.notes)

    def _request_stack(self, board: Board) -> None:
        """Let the stack of this rank be written shortly before the others would end it."""
        if self._hang_after:
            stood = time.monotonic() - board.mine.changed_at
            left = max(1.0, self._hang_after - stood - self.beat / 2)
            # If the main thread keeps the GIL, we publish nothing: soon the others take us as dead.
            self._stack.write_after(min(left, self.silence - 2 * self.beat))

    def _end(self, board: Board, code: Exit, ranks: list[int], what: str) -> None:
        """End this process; the lowest rank that is not to blame prints why."""
        if self._leaving.is_set():
            return
        self._looked = time.monotonic() + 3 * _LAST_WORDS  # keep the guard waiting for that
        me = self._world.rank
        others = [rank for rank in range(self._world.size) if rank not in ranks]
        with contextlib.suppress(RuntimeError):
            board.put(f"ending/{me}", "")
            if me in ranks:
                board.put(f"stack/{me}", format_main_stack())
        if me == (others or ranks)[0]:
            for rank in ranks:
                self._print_report(board, rank, what)
            with contextlib.suppress(RuntimeError):
                board.put("reported", "")
        else:
            _wait_until(lambda: board.get("reported") is not None)
        self._stack.cancel()
        if me == 0:
            # The store ends with this process; a rank that noticed nothing yet would blame us.
            _wait_until(lambda: all(board.get(f"ending/{rank}") is not None for rank in others))
            time.sleep(self.beat)
        os._exit(code)

    def _print_report(self, board: Board, rank: int, what: str) -> None:
        stack = None
        if what != "died":
            _wait_until(lambda: board.get(f"stack/{rank}") is not None)
            with contextlib.suppress(RuntimeError):
                stack = board.get(f"stack/{rank}")
        stack = stack or self._stack.read_other(rank)
        self._print_blame(board, rank, what)
        print(
            stack or "No stack available: the process is stopped or has exited.",
            file=sys.stderr,
            flush=True,
        )

    def _print_blame(self, board: Board, rank: int, what: str) -> None:
        standing = board.standings[rank]
        since = round(time.monotonic() - standing.changed_at)
        cause = self.find_cause() if what == "died" else ""
        print(
            f"error: rank {rank}{standing.place} {what} {standing.activity}; its last progress was "
            f"{since} s ago. All ranks end now. Start again to continue from the last checkpoint"
            + (f"\n{cause}" if cause else ""),
            file=sys.stderr,
            flush=True,
        )


def _wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, but no longer than `_LAST_WORDS` and not if the store has gone."""
    begun = time.monotonic()
    with contextlib.suppress(RuntimeError):
        while not holds() and time.monotonic() - begun < _LAST_WORDS:
            time.sleep(0.1)
