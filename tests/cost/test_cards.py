"""The peaks of known cards."""

from __future__ import annotations

import pytest

from gpt2zh.cost.cards import peak_flops


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("Tesla V100-SXM2-32GB", 125),
        ("Tesla T4", 65),
        ("NVIDIA L40S", 362),
        ("AMD Instinct MI300X", None),
        ("NVIDIA GeForce GTX 1080", None),
        ("NVIDIA GeForce RTX 3080", None),
        ("", None),
        # other and slower cards, whose names only contain or extend a known one
        ("NVIDIA T400 4GB", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
    ],
)
def test_the_peak_of_known_cards_only(name: str, tera: float | None) -> None:
    assert peak_flops(name) == (None if tera is None else pytest.approx(tera * 1e12))
    assert peak_flops(name, "fp16") == peak_flops(name)
    assert (peak_flops(name, "fp32") is None) == (tera is None)


def test_the_peak_of_training_in_fp32_is_that_without_tensor_cores() -> None:
    assert peak_flops("NVIDIA GeForce RTX 3090", "fp32") == 35.6e12
    assert peak_flops("NVIDIA H200", "fp32") == 67e12
