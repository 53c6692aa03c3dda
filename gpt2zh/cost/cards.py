"""The GPUs that a large run may be planned for: what they hold, and how fast they are fed.

Peaks are those of `cost.sizes`. Memory and its bandwidth are of NVIDIA's data sheets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpt2zh.cost import sizes


@dataclass(frozen=True)
class Card:
    """A GPU, and what joins it to the others in its machine."""

    name: str
    peak: float
    """Dense FLOP/s of half precision summed in fp32."""
    memory: int
    """Bytes."""
    memory_rate: float
    """Bytes per second that it reads or writes."""
    link_rate: float
    """Bytes per second that each card of a machine passes on while all do: what nccl-tests calls
    bus bandwidth."""
    has_nvlink: bool
    has_bf16: bool


_NVLINK4 = 370e9
"""What NCCL makes of NVLink's 450 GB/s without switches that add up, by one of its authors
(github.com/NVIDIA/nccl-tests, issue 212)."""
_NVLINK3 = 200e9
"""Eight A100 (github.com/NVIDIA/nccl-tests, issue 149)."""
_NVLINK2 = 120e9
"""NCCL's own figure for six links of a V100 (src/graph/topo.h, SM70_NVLINK_BW)."""
_PCIE = 10e9
"""Between cards on two CPU sockets, as NCCL reckons (src/graph/topo.h, SKL_QPI_BW); GeForce cards
send through host memory. A machine with PCIe switches may have twice as much."""

# GiB, GB/s of memory, bytes per second of the link.
_CARDS = {
    "RTX 3090 Ti": (24, 1008, _PCIE),
    "RTX 3090": (24, 936, _PCIE),
    "RTX 4090": (24, 1008, _PCIE),
    "RTX 5090": (32, 1792, _PCIE),
    "A100": (40, 1555, _NVLINK3),
    "A10": (24, 600, _PCIE),
    "L40S": (48, 864, _PCIE),
    "H100 PCIe": (80, 2000, _PCIE),
    "H100": (80, 3350, _NVLINK4),
    "H200": (141, 4800, _NVLINK4),
    "V100": (32, 900, _NVLINK2),
    "T4": (16, 300, _PCIE),
}
_OLD = ("V100", "T4")
"""Without bf16."""
_SLOWER = ("Laptop", "D")
"""Words in the names of slower cards."""
KNOWN = tuple(_CARDS)


def card_named(name: str) -> Card | None:
    """The card of a device name, as a driver or a person says it; None if it is not known."""
    usual = {word.upper(): word for known in (*_CARDS, *_SLOWER) for word in known.split()}
    words = [usual.get(word.upper(), word) for word in re.split(r"[\s-]+", name)]
    peak = sizes.peak_flops(" ".join(words))
    for known, (gib, rate, link) in _CARDS.items():
        own = sizes.peak_flops(known)
        if own is not None and own == peak and set(known.split()) <= set(words):
            return Card(
                name=known,
                peak=own,
                memory=gib * 2**30,
                memory_rate=rate * 1e9,
                link_rate=link,
                has_nvlink=link != _PCIE,
                has_bf16=known not in _OLD,
            )
    return None
