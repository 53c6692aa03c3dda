"""Memory, speed and links of common GPUs.

Peak FLOP/s, memory and bandwidth are from NVIDIA's data sheets. For GeForce cards they are from the
whitepapers on Ampere GA102, Ada and RTX Blackwell: "Peak FP16 Tensor TFLOPS with FP32 Accumulate"
(half of the advertised peak) and "Peak FP32 TFLOPS (non-Tensor)".
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU, and its link to the other GPUs of the machine."""

    name: str
    peak: float
    """Dense FLOP/s in half precision with sums in fp32."""
    peak_fp32: float
    """FLOP/s in fp32 without tensor cores; these need TF32, which training in fp32 does not use
    (run/training.py)."""
    memory: int
    """Bytes."""
    memory_rate: float
    """Memory bandwidth in bytes per second."""
    link_rate: float
    """Bytes per second that each card sends while all cards of a machine do: the bus bandwidth of
    nccl-tests."""
    has_nvlink: bool
    has_bf16: bool

    def peak_in(self, precision: str) -> float:
        """Return the peak FLOP/s in a `train.precision`."""
        return self.peak_fp32 if precision == "fp32" else self.peak


_NVLINK4 = 370e9
"""What NCCL reaches of NVLink's 450 GB/s without in-switch reduction, according to one of its
authors (github.com/NVIDIA/nccl-tests, issue 212)."""
_NVLINK3 = 200e9
"""Eight A100 (github.com/NVIDIA/nccl-tests, issue 149)."""
_NVLINK2 = 120e9
"""NCCL's own figure for six links of a V100 (src/graph/topo.h, SM70_NVLINK_BW)."""
_PCIE = 10e9
"""NCCL's own figure for cards on two CPU sockets (src/graph/topo.h, SKL_QPI_BW); GeForce cards send
through host memory. A machine with PCIe switches may have twice as much."""

# TFLOP/s in half precision and in fp32, GiB, GB/s of the memory, bytes per second of the link.
_CARDS = {
    "RTX 3090 Ti": (80, 40, 24, 1008, _PCIE),
    "RTX 3090": (71, 35.6, 24, 936, _PCIE),
    "RTX 4090": (165.2, 82.6, 24, 1008, _PCIE),
    "RTX 5090": (209.5, 104.8, 32, 1792, _PCIE),
    "A100": (312, 19.5, 40, 1555, _NVLINK3),
    "A10": (125, 31.2, 24, 600, _PCIE),
    "L40S": (362, 91.6, 48, 864, _PCIE),
    "H100 PCIe": (756, 51, 80, 2000, _PCIE),
    "H100": (989, 67, 80, 3350, _NVLINK4),
    "H200": (989, 67, 141, 4800, _NVLINK4),
    "V100": (125, 15.7, 32, 900, _NVLINK2),
    "T4": (65, 8.1, 16, 300, _PCIE),
}
_OLD = ("V100", "T4")
"""Cards without bf16."""
_SLOWER = {"LAPTOP", "D"}
"""Words in the names of slower variants, which are not in the table."""
KNOWN = tuple(_CARDS)


def card_named(name: str) -> Card | None:
    """Return the card with a device name, as the driver or a user writes it; None if unknown."""
    words = set(re.split(r"[\s-]+", name.upper()))
    if words & _SLOWER:
        return None
    for known, (peak, peak_fp32, gib, rate, link) in _CARDS.items():
        if set(known.upper().split()) <= words:
            return Card(
                name=known,
                peak=peak * 1e12,
                peak_fp32=peak_fp32 * 1e12,
                memory=gib * 2**30,
                memory_rate=rate * 1e9,
                link_rate=link,
                has_nvlink=link != _PCIE,
                has_bf16=known not in _OLD,
            )
    return None


def peak_flops(device_name: str, precision: str = "bf16") -> float | None:
    """Return the card's peak FLOP/s; None if unknown, since no MFU is better than a wrong one.

    Args:
        device_name: Name of the card, as the driver writes it.
        precision: The `train.precision`; in fp32 tensor cores are not used.
    """
    card = card_named(device_name)
    return card.peak_in(precision) if card else None
