"""The place of this process among all processes of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """The place of one process; a plain value, so that tests can make any."""

    rank: int = 0
    """Number of this process among all, from 0."""
    size: int = 1
    """Processes of the run."""
    local_rank: int = 0
    """Number of this process on its machine, which is the number of its GPU."""
    local_size: int = 1
    """Processes on this machine."""

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes shared files for all."""
        return self.rank == 0

    @classmethod
    def detect(cls, env: Mapping[str, str] = os.environ) -> World:
        """Read the variables of deepspeed, torchrun or srun; without any, return one rank."""
        for rank, size, local_rank, local_sizes in (
            ("RANK", "WORLD_SIZE", "LOCAL_RANK", ("LOCAL_WORLD_SIZE", "LOCAL_SIZE")),
            ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ("SLURM_NTASKS_PER_NODE",)),
        ):
            if rank in env and size in env:
                here = [int(env[name]) for name in local_sizes if env.get(name, "").isdecimal()]
                processes = int(env[size])
                return cls(
                    int(env[rank]), processes, int(env.get(local_rank, 0)), [*here, processes][0]
                )
        return cls()

    def variables(self) -> dict[str, str]:
        """Return the variables that torch.distributed reads, for a start without a launcher."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
        }
