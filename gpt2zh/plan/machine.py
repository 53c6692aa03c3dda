"""What this machine can train on, found without torch and without taking memory of a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.cost.cards import Card, card_named

CPU_FLOPS = 10e9
"""FLOP/s in fp32 that training reaches on one core, on the safe side: a core of a server with
AVX-512 reached 24e9 (gpt2-tiny, counted in CPU seconds), and other processors have less."""


@dataclass(frozen=True)
class Machine:
    """The GPUs of a machine, or its CPU."""

    gpus: int
    card: Card | None
    """The kind of its GPUs; None if it is not known."""
    cores: int

    @property
    def cpu_flops(self) -> float:
        """FLOP/s in fp32 that training reaches on all cores."""
        return CPU_FLOPS * self.cores


def find_machine(root: Path = Path("/"), env: Mapping[str, str] = os.environ) -> Machine:
    """Return what this machine can train on.

    Args:
        root: Where `proc` and `dev` lie.
        env: May hide the GPUs.
    """
    cores = len(os.sched_getaffinity(0))
    hidden = env.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    if hidden or env.get("DS_ACCELERATOR", "cuda") != "cuda":
        return Machine(0, None, cores)
    gpus = len(_models(root)) or len(list((root / "dev").glob("nvidia[0-9]*")))
    return Machine(gpus, find_card(root), cores)


def find_card(root: Path = Path("/")) -> Card | None:
    """Return the card of this machine if it is known.

    Args:
        root: Where `proc` lies.
    """
    cards = map(card_named, _models(root))
    return next((card for card in cards if card is not None), None)


def _models(root: Path) -> list[str]:
    """Return the names of the GPUs, as the driver writes them."""
    return [
        value.strip()
        for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
        for name, _, value in (
            line.partition(":") for line in path.read_text("utf-8", errors="replace").splitlines()
        )
        if name == "Model"
    ]
