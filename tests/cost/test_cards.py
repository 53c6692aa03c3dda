"""Cards are known by their own names and by those of their drivers."""

from __future__ import annotations

import pytest

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import KNOWN, card_named, peak_flops
from gpt2zh.cost.computing import seconds_at_best

SMALL = ModelConfig(layers=12, heads=12, width=768)


@pytest.mark.parametrize("card", KNOWN)
def test_training_in_fp32_is_slower_by_the_card(card: str) -> None:
    found = card_named(card)
    assert found is not None and 1.9 < found.peak / found.peak_fp32 < 17
    slower = seconds_at_best(found, SMALL, 32_000, is_half=False)
    slower /= seconds_at_best(found, SMALL, 32_000)
    assert 1.9 < slower < 17


@pytest.mark.parametrize("name", KNOWN)
def test_every_card_is_known_by_its_own_name(name: str) -> None:
    card = card_named(name)
    assert card is not None and card.name == name


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA GeForce RTX 3090 Ti", "RTX 3090 Ti"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("h100 pcie", "H100 PCIe"),
        ("rtx 4090 laptop", None),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("CPU", None),
        ("", None),
    ],
)
def test_a_card_is_known_by_the_name_of_its_driver(device: str, name: str | None) -> None:
    card = card_named(device)
    assert (card and card.name) == name


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
