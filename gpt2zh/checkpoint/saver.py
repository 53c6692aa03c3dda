"""Save a run: copy the state between two steps, write it during the next ones, then rename it.

The thread of each rank only writes files. Collectives run in the main threads only: two threads
with collectives could wait for each other. So the main threads ask once a step whether all ranks
have finished writing; then rank 0 gives the folder its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2zh.checkpoint import checkpoint, master_weights, snapshot
from gpt2zh.checkpoint.old_checkpoints import OldCheckpoints
from gpt2zh.config.errors import RunError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import CheckpointConfig
from gpt2zh.files import pruning, run_folder
from gpt2zh.files.lock import LostFolderError
from gpt2zh.ranks.logs import say, warn
from gpt2zh.ranks.peers import Peers
from gpt2zh.train.state import TrainState

FIRST_RETRY = 10.0
"""Seconds from a failed save to the next attempt; doubled each time, up to the save interval."""


@dataclass(frozen=True)
class _Writing:
    """A checkpoint that is being written."""

    step: int
    temporary: Path
    begun: float
    stalled: float
    """Seconds for which training was paused."""
    files: Future[dict[str, dict[str, Any]]]
    """The manifest entries of this rank's files."""


class Saver:
    """Writes the checkpoints of a run. All ranks call every method together, except `busy`."""

    def __init__(
        self,
        engine: Any,
        config: CheckpointConfig,
        run: Path,
        *,
        facts: checkpoint.RunFacts,
        peers: Peers,
    ) -> None:
        """Take what is saved and where.

        Args:
            engine: The DeepSpeed engine.
            config: When to save, and which checkpoints to keep.
            run: The run folder.
            facts: What every checkpoint holds besides the state.
            peers: The other ranks.
        """
        self._engine = engine
        self._config = config
        self._run = run
        self._facts = facts
        self._peers = peers
        self._world = peers.world
        self._control = peers.control
        self._watch = peers.watch
        self._buffers = snapshot.Buffers()
        self._layout = master_weights.find_layout(engine, peers.control)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: _Writing | None = None
        self._saved_at = time.monotonic()
        self._retry_in = FIRST_RETRY
        self._retry_at: float | None = None
        self.saved_step: int | None = None
        """Step of the last complete checkpoint of this start."""
        self.failure: str | None = None
        """Why the last attempt failed, if it did."""
        self._old = OldCheckpoints(self._thread, config, run, peers.world)
        self._in_streak = self._returning = False

    @property
    def busy(self) -> bool:
        """Whether this rank is still writing."""
        return self._writing is not None and not self._writing.files.done()

    def has(self, step: int) -> bool:
        """Return whether the checkpoint of a step is saved or being written; equal on all ranks."""
        return step in (self.saved_step, self._writing and self._writing.step)

    def pin(self, step: int) -> None:
        """Keep the checkpoint of a step from being deleted, instead of the one pinned before.

        That one stays until the new one is complete: writing it may fail.
        """
        self._old.pin(step)

    def is_due(self, step: int) -> bool:
        """Return whether it is time to save after this step, by this rank's clock."""
        now = time.monotonic()
        if self._retry_at is not None and now >= self._retry_at:
            return True
        return self._config.every.is_due(step=step, seconds=now - self._saved_at)

    def begin(self, state: TrainState) -> float:
        """Copy the state and begin to write it, after completing the previous checkpoint.

        Returns:
            Seconds for which training was paused.
        """
        begun = time.monotonic()
        self.complete()
        self._watch.mark("beginning a checkpoint")
        self._saved_at, self._retry_at = begun, None
        self._in_streak = state.bad_streak > 0
        temporary = run_folder.writing_path(self._run, state.step)
        error = self._on_main_rank(lambda: run_folder.begin(self._run, state.step))
        if error is not None:
            self._failed(state.step, error)
            return time.monotonic() - begun
        self._watch.mark("copying the state")
        taken = snapshot.take(self._engine, state, self._world, self._buffers, self._layout)
        files = self._thread.submit(
            checkpoint.write,
            taken,
            temporary,
            facts=self._facts,
            world=self._world,
            note=self._watch.note,
        )
        stalled = time.monotonic() - begun
        self._writing = _Writing(state.step, temporary, begun, stalled, files)
        if not self._config.async_save:
            self.complete()
        return time.monotonic() - begun

    def complete(self) -> None:
        """Wait for the files of all ranks, then give the checkpoint its name, if one is written.

        After a failure, warn and try again later.
        """
        writing = self._writing
        if writing is None:
            return
        self._watch.mark("waiting for the disk")
        futures.wait([writing.files])
        self._watch.mark("completing a checkpoint")
        self._writing = None
        error = writing.files.exception()
        if error is not None and not isinstance(error, OSError):
            raise error
        results = self._control.gather(str(error) if error else writing.files.result())
        errors = [result for result in results if isinstance(result, str)]
        failure = errors[0] if errors else None
        if failure is None:
            entries = {name: entry for part in results for name, entry in part.items()}
            final = run_folder.checkpoint_path(self._run, writing.step)
            failure = self._on_main_rank(
                lambda: run_folder.commit(writing.temporary, final, entries)
            )
        if failure is not None:
            if self._world.is_main:
                run_folder.discard(writing.temporary)  # free the space on a full disk
            self._failed(writing.step, failure)
            return
        self.saved_step, self.failure, self._retry_in = writing.step, None, FIRST_RETRY
        seconds = time.monotonic() - writing.begun
        say(
            self._world,
            f"saved {run_folder.checkpoint_path(self._run, writing.step)} ({seconds:.1f} s; "
            f"training paused for {writing.stalled:.2f} s)",
        )
        # Newer ones would push the state before the streak out of `keep_last`.
        if self._world.is_main and not (self._in_streak or self._returning):
            self._old.prune()

    def save_now(
        self, state: TrainState, *, attempts: int, pause: float, give_up: Callable[[], bool]
    ) -> bool:
        """Save a state unless it is saved already, and wait for it; repeat after a failure.

        Args:
            state: Progress.
            attempts: Attempts at most.
            pause: Seconds between two attempts.
            give_up: Called between two attempts; all ranks return the same.

        Returns:
            Whether it is saved.
        """
        for attempt in range(attempts):
            self.complete()
            if self.saved_step == state.step:
                return True
            self.begin(state)
            self.complete()
            if self.saved_step == state.step:
                return True
            if attempt + 1 < attempts:
                until = time.monotonic() + pause
                while self._control.any(time.monotonic() < until)[0]:
                    self._watch.mark("waiting to save again")
                    if give_up():
                        return False
                    time.sleep(0.2)
        return False

    def return_to(self, state: TrainState) -> None:
        """Make an earlier state the newest checkpoint; its weights are the present ones.

        Newer checkpoints are deleted once it is complete. If it cannot be saved, they stay.

        Args:
            state: Progress before the streak of bad steps; step 0 needs no checkpoint.
        """
        self.complete()
        self._returning = True
        if not (
            state.step == 0
            or self._is_on_disk(state.step)
            or self.save_now(state, attempts=3, pause=2.0, give_up=lambda: False)
        ):
            return
        error = self._on_main_rank(lambda: pruning.delete_newer(self._run, state.step))
        if error is not None:
            warn(self._world, f"checkpoints after step {state.step} cannot be deleted: {error}")
        elif self._world.is_main:
            self._old.prune()

    def _is_on_disk(self, step: int) -> bool:
        """Return on every rank whether the checkpoint of a step is complete, byte by byte."""
        folder = run_folder.checkpoint_path(self._run, step)
        mine = self._world.is_main and not run_folder.find_faults(folder, content=True)
        return bool(self._control.broadcast(mine))

    def close(self) -> None:
        """Wait until all writing and deleting is done."""
        self._thread.shutdown(wait=True)
        self._old.warn_of_failure()

    def _failed(self, step: int, error: str) -> None:
        self.failure = error
        self._retry_at = time.monotonic() + self._retry_in
        warn(
            self._world,
            f"step {step} could not be saved: {error}; trying again later, and keeping all older "
            "checkpoints",
        )
        self._retry_in = min(2 * self._retry_in, max(self._config.every.seconds, 60.0))

    def _on_main_rank(self, act: Callable[[], Any]) -> str | None:
        """Let rank 0 act in the run folder; return on every rank the error, if there was one.

        Raises:
            RunError: On every rank; the run folder now belongs to another run.
        """
        error, is_lost = None, False
        if self._world.is_main:
            try:
                self._peers.check_folder()
                act()
            except OSError as caught:
                error, is_lost = str(caught), isinstance(caught, LostFolderError)
        error, is_lost = self._control.broadcast((error, is_lost))
        if is_lost:
            raise RunError(Exit.NOT_SAVED, f"the last steps are not saved: {error}")
        return error
