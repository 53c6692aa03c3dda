"""Cards are known by their own names and by those of their drivers."""

from __future__ import annotations

import pytest

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import KNOWN, card_named
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
