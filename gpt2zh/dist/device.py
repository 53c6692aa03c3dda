"""What a rank computes on, as a value: plans ask for nothing else of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One rank's GPU, or its share of the host."""

    name: str
    memory: int
    """Bytes that this rank may use."""
    is_gpu: bool
