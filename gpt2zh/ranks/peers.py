"""What a rank needs to act together with the others."""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.files.lock import RunLock
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World


@dataclass(frozen=True)
class Peers:
    """This rank's place among the others, and its channels to them."""

    world: World
    control: ControlGroup
    """For decisions that must be equal on all ranks."""
    stop: StopRequest
    """Whether this process was asked to stop."""
    watch: Watch
    """Gets a mark at each phase of the work."""
    lock: RunLock | None = None
    """The lock of the run folder, which only rank 0 holds."""

    def check_folder(self, *, at_most_every: float = 0.0) -> None:
        """Check on rank 0 that the run folder is still that of this run; see `RunLock.check`."""
        if self.lock is not None:
            self.lock.check(at_most_every=at_most_every)
