"""What a rank needs to act together with the others."""

from __future__ import annotations

from dataclasses import dataclass

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
