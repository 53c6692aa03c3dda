"""The place of this process among all processes of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from gpt2zh.config.errors import UserError, raise_all

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", ("LOCAL_WORLD_SIZE", "LOCAL_SIZE")),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ("SLURM_NTASKS_PER_NODE",)),
)


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
        """Read the variables of deepspeed, torchrun or srun; without any, return one rank.

        Raises:
            UserError: One of them is not a number, or the numbers do not fit together.
        """
        for rank, size, local_rank, local_sizes in _LAUNCHERS:
            if rank in env and size in env:
                values = {name: env.get(name, "0") for name in (rank, size, local_rank)}
                raise_all(_number_faults(values), "the variables of the launcher")
                here = [int(env[name]) for name in local_sizes if _is_number(env.get(name, ""))]
                place = int(env[rank]), int(env[size]), int(values[local_rank])
                if not place[0] < place[1]:
                    raise UserError(
                        f"{rank} is {place[0]} and {size} is {place[1]}; ranks are numbered from 0 "
                        f"to {place[1] - 1}. {_cure(rank)}"
                    )
                return cls(*place, [*here, place[1]][0])
        return cls()

    def variables(self) -> dict[str, str]:
        """Return the variables that torch.distributed reads, for a start without a launcher."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
        }


def _number_faults(values: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is '{text}'; it must be a whole number. {_cure(name)}"
        for name, text in values.items()
        if not _is_number(text)
    ]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _cure(name: str) -> str:
    return f"The launcher sets it; if it was left in the shell by hand, `unset {name}`"
