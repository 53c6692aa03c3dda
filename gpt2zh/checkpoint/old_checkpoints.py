"""Delete the old checkpoints of a run in a thread, next to the training."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from pathlib import Path

from gpt2zh.config.schema import CheckpointConfig
from gpt2zh.files import pruning, run_folder
from gpt2zh.ranks.logs import warn
from gpt2zh.ranks.world import World


class OldCheckpoints:
    """Knows which checkpoints stay, and deletes the others."""

    def __init__(self, thread: Executor, config: CheckpointConfig, run: Path, world: World) -> None:
        """Take what is deleted, and how.

        Args:
            thread: Deletes the files.
            config: Which checkpoints stay.
            run: The run folder.
            world: This rank's place; only rank 0 calls `prune`.
        """
        self._thread = thread
        self._config = config
        self._run = run
        self._world = world
        self._pinned: list[int] = []
        self._pruning: Future[None] | None = None
        self._warned_of: str | None = None

    def pin(self, step: int) -> None:
        """Keep the checkpoint of a step; see `Saver.pin`."""
        self._pinned.append(step)

    def prune(self) -> None:
        """Begin to delete old checkpoints; a failure does not stop the training."""
        if self._pruning is not None and self._pruning.done():
            self.warn_of_failure()
        complete = [run_folder.checkpoint_path(self._run, step).is_dir() for step in self._pinned]
        if any(complete):  # the newest complete one replaces all before it
            self._pinned = self._pinned[len(complete) - 1 - complete[::-1].index(True) :]
        self._pruning = self._thread.submit(
            pruning.prune,
            self._run,
            keep_last=self._config.keep_last,
            keep_every=self._config.keep_every,
            pinned=frozenset(self._pinned),
        )

    def warn_of_failure(self) -> None:
        """Wait for the last deletion, and warn if it failed in a way that is not yet known."""
        error = self._pruning.exception() if self._pruning is not None else None
        if error is not None and str(error) != self._warned_of:
            self._warned_of = str(error)
            warn(
                self._world,
                f"old checkpoints in {self._run} cannot be deleted: {error}; delete them "
                "yourself before they fill the disk",
            )
