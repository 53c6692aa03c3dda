"""The summed loss against transformers' own."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.data.batch import IGNORED
from gpt2zh.model.loss import SummedLoss

B, T, V = 3, 8, 128


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=T, vocab_size=V)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 100, (B, T), generator=torch.Generator().manual_seed(1))


def test_it_is_transformers_loss_times_the_targets(
    model: GPT2LMHeadModel, ids: torch.Tensor
) -> None:
    theirs = model(input_ids=ids, labels=ids).loss
    ours = SummedLoss(model)(ids, ids)
    assert ours.shape == () and ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs * B * (T - 1))


def test_ignored_labels_have_no_loss(model: GPT2LMHeadModel, ids: torch.Tensor) -> None:
    labels = ids.clone()
    labels[0, 3:] = IGNORED
    labels[2, 1] = IGNORED
    theirs = model(input_ids=ids, labels=labels).loss
    targets = int((labels[:, 1:] != IGNORED).sum())
    assert targets == B * (T - 1) - 6
    torch.testing.assert_close(SummedLoss(model)(ids, labels), theirs * targets)
    assert SummedLoss(model)(ids, torch.full_like(ids, IGNORED)) == 0


def test_the_first_label_never_counts(model: GPT2LMHeadModel, ids: torch.Tensor) -> None:
    labels = ids.clone()
    labels[:, 0] = IGNORED
    assert SummedLoss(model)(ids, labels) == SummedLoss(model)(ids, ids)


def test_parts_of_a_batch_add_up(model: GPT2LMHeadModel, ids: torch.Tensor) -> None:
    loss = SummedLoss(model)
    torch.testing.assert_close(sum(loss(row[None], row[None]) for row in ids), loss(ids, ids))


def test_the_padded_vocabulary_takes_part_in_the_softmax(
    model: GPT2LMHeadModel, ids: torch.Tensor
) -> None:
    """So the first loss is ln(padded vocabulary), and training pushes the padding down."""
    assert model(ids).logits.shape == (B, T, V)
    loss = SummedLoss(model)(ids, ids)
    assert loss.item() / (B * (T - 1)) == pytest.approx(math.log(V), rel=0.05)
    (gradient,) = torch.autograd.grad(loss, model.transformer.wte.weight)
    assert gradient[V - 1].abs().sum() > 0
