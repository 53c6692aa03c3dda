"""The summed loss and its chunked head against transformers' own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel

import gpt2zh.model.loss
from gpt2zh.model.loss import SummedLoss
from gpt2zh.model.shape import IGNORED

B, T, V = 3, 8, 128


def new_model(dtype: torch.dtype = torch.float32) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=T, vocab_size=V)
    return GPT2LMHeadModel(config).eval().to(dtype)


@pytest.fixture
def model() -> GPT2LMHeadModel:
    return new_model()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 100, (B, T), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[B * T, 7, 1], ids=lambda chunk: f"chunks of {chunk}")
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(gpt2zh.model.loss, "chunk_tokens", lambda tokens: request.param)
    chunk: int = request.param
    return chunk


def labels_with_gaps(ids: torch.Tensor) -> torch.Tensor:
    labels = ids.clone()
    labels[0, 3:] = IGNORED
    labels[2, 1] = IGNORED
    return labels


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_it_is_transformers_loss_times_the_targets(
    model: GPT2LMHeadModel, ids: torch.Tensor, chunked: int
) -> None:
    theirs = model(input_ids=ids, labels=ids).loss
    ours = SummedLoss(model)(ids, ids)
    assert ours.shape == () and ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs * B * (T - 1))
    with torch.no_grad():
        torch.testing.assert_close(SummedLoss(model)(ids, ids), ours)


def test_so_are_its_gradients(ids: torch.Tensor, chunked: int) -> None:
    labels = labels_with_gaps(ids)
    model = new_model()
    theirs = gradients(model, 1e-3 * (B * (T - 1) - 6) * model(input_ids=ids, labels=labels).loss)
    ours = gradients(model, 1e-3 * SummedLoss(model)(ids, labels))
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_an_exact_sum_and_unbent_gradients(
    ids: torch.Tensor, dtype: torch.dtype
) -> None:
    """Against fp32 on the same rounded weights and hidden states."""
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(4000, 64, generator=generator).to(dtype).requires_grad_()
    weight = (0.1 * torch.randn(512, 64, generator=generator)).to(dtype).requires_grad_()
    targets = torch.randint(0, 512, (4000,), generator=generator)
    head = gpt2zh.model.loss._Head(torch.nn.Parameter(weight.detach()))
    exact = F.cross_entropy(hidden.float() @ weight.float().T, targets, reduction="sum")
    loss = head(hidden, targets)
    torch.testing.assert_close(loss, exact, rtol=1e-4, atol=0)
    factor = 0.000369  # lies between two numbers of bf16, 0.23 % from the nearer
    (wanted,) = torch.autograd.grad(factor * exact, [hidden])
    (found,) = torch.autograd.grad(factor * loss, [hidden])
    bent = (found.double() * wanted.double()).sum() / wanted.double().square().sum() - 1
    assert abs(bent) < 5e-4


def test_a_frequent_token_does_not_overflow_fp16() -> None:
    """4,000 targets of one kind with hidden states of 40 add up to 160,000."""
    hidden = torch.full((4000, 8), 40.0, dtype=torch.float16)
    weight = torch.nn.Parameter(torch.zeros(16, 8, dtype=torch.float16))
    head = gpt2zh.model.loss._Head(weight)
    targets = torch.full((4000,), 3)
    (gradient,) = torch.autograd.grad(head(hidden, targets) / 4000, [weight])
    expected = torch.full((16, 8), 40 / 16)
    expected[3] -= 40
    torch.testing.assert_close(gradient.float(), expected, rtol=1e-3, atol=1e-3)


def test_torchs_own_is_still_not_good_enough_in_half_precision() -> None:
    """When this fails, `F.linear_cross_entropy` may replace the head of `model/loss.py`."""
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip("this torch has no linear_cross_entropy")
    hidden, weight = torch.randn(64, 16).bfloat16(), torch.randn(32, 16).bfloat16()
    options = torch.nn.LinearCrossEntropyOptions()
    targets = torch.randint(0, 32, (64,))
    loss = F.linear_cross_entropy(hidden, weight, targets, reduction="sum", options=options)
    assert loss.dtype == torch.bfloat16


class LargestTensor(TorchDispatchMode):
    """Remembers the most numbers that any operation has returned in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = operation(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result


@pytest.mark.parametrize("learning", [True, False])
def test_the_logits_of_all_tokens_never_exist(
    ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch, learning: bool
) -> None:
    sizes = {}
    for chunk in (B * T, 6):
        monkeypatch.setattr(gpt2zh.model.loss, "chunk_tokens", lambda tokens, c=chunk: c)
        model = SummedLoss(new_model())
        with LargestTensor() as seen, torch.set_grad_enabled(learning):
            loss = model(ids, ids)
            if learning:
                loss.backward()
        sizes[chunk] = seen.numbers
    whole = B * T * V
    assert sizes[B * T] >= whole  # it would be seen
    assert sizes[6] < whole  # the weight of 128 x 16 is larger than a chunk's logits


def test_ignored_labels_have_no_loss(model: GPT2LMHeadModel, ids: torch.Tensor) -> None:
    labels = labels_with_gaps(ids)
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


def test_wrapping_adds_no_parameter_and_keeps_their_names(model: GPT2LMHeadModel) -> None:
    names = [f"model.{name}" for name, _ in model.named_parameters()]
    assert [name for name, _ in SummedLoss(model).named_parameters()] == names
