"""Muon's arithmetic: what is orthogonalized, how far it moves, what stays with AdamW."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.model.shape import matrices_in
from gpt2zh.train import muon
from gpt2zh.train.muon import LIKE_ADAMW, Muon, approximate_orthogonal, orthogonalize
from gpt2zh.train.optimizer import build_optimizer, moments_of

CONFIG = OptimizerConfig(kind="muon", weight_decay=0.3, beta1=0.8, beta2=0.9, momentum=0.7)
RATE = 0.02
LAYERS, WIDTH = 2, 16


def new_model(seed: int = 1) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    shape = GPT2Config(
        n_layer=LAYERS, n_head=2, n_embd=WIDTH, n_positions=8, vocab_size=128, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(shape)


def steps_of(optimizer: torch.optim.Optimizer, parameters: list, *, steps: int, seed: int) -> None:
    """Take steps with gradients drawn from a seed, one after the other over the parameters."""
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator) * 0.01
        optimizer.step()


def alone(parameter: nn.Parameter, matrices: int = 1, decay: float = 0.3) -> Muon:
    """Muon over one parameter."""
    group = {"params": [parameter], "weight_decay": decay, "momentum": 0.7, "matrices": matrices}
    return Muon([group], betas=(0.8, 0.9), eps=1e-8)


def test_every_matrix_of_the_blocks_is_muons_and_all_else_adamws() -> None:
    model = new_model()
    names = {id(p): name for name, p in model.named_parameters()}
    groups = build_optimizer(model, CONFIG).param_groups
    held = [{names[id(p)] for p in group["params"]} for group in groups]
    blocks = [f"transformer.h.{layer}" for layer in range(LAYERS)]
    others = ("attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert held == [
        {"transformer.wte.weight", "transformer.wpe.weight"},
        {f"transformer.ln_f.{kind}" for kind in ("weight", "bias")}
        | {f"{b}.ln_{n}.{kind}" for b in blocks for n in (1, 2) for kind in ("weight", "bias")}
        | {f"{b}.{layer}.bias" for b in blocks for layer in ("attn.c_attn", *others)},
        {f"{b}.attn.c_attn.weight" for b in blocks},
        {f"{b}.{layer}.weight" for b in blocks for layer in others},
    ]  # fmt: skip
    assert [group.get("matrices") for group in groups] == [None, None, 3, 1]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.3, 0.3]
    assert [group.get("momentum") for group in groups] == [None, None, 0.7, 0.7]
    assert {group["lr"] for group in groups} == {0.0}
    every = Counter(id(p) for group in groups for p in group["params"])
    assert every == Counter(id(p) for p in model.parameters())


def test_names_are_told_apart_also_below_a_wrapper() -> None:
    assert matrices_in("module.model.transformer.h.11.attn.c_attn.weight") == 3
    assert matrices_in("transformer.h.0.mlp.c_proj.weight") == 1
    for name in (
        "attn.c_attn.bias",
        "crossattention.c_attn.weight",
        "mlp.c_attn.weight",
        "ln_1.weight",
    ):
        assert matrices_in(f"transformer.h.0.{name}") == 0
    assert matrices_in("attn.c_proj.weight") == matrices_in("graph.0.mlp.c_fc.weight") == 0
    assert moments_of("muon", "transformer.h.0.mlp.c_fc.weight") == ("exp_avg",)
    for kind, name in (
        ("muon", "transformer.wte.weight"),
        ("adamw", "transformer.h.0.mlp.c_fc.weight"),
    ):
        assert moments_of(kind, name) == ("exp_avg", "exp_avg_sq")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(48, 48), (32, 128), (24, 200)])
def test_orthogonalized_matrices_have_singular_values_near_1(
    shape: tuple[int, int], precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of matrices whose values lie far apart and far from 1; in bf16 as on a GPU."""
    monkeypatch.setattr(muon, "_precision", lambda device: precision)
    torch.manual_seed(1)
    left = torch.linalg.qr(torch.randn(3, shape[0], shape[0])).Q
    right = torch.linalg.qr(torch.randn(3, shape[1], shape[0])).Q
    values = torch.stack([torch.logspace(0, -2, shape[0]) * size for size in (1e-5, 1.0, 1e4)])
    result = approximate_orthogonal(left @ values.diag_embed() @ right.mT)
    assert result.dtype == precision
    found = torch.linalg.svdvals(result.float())
    assert found.min() > 0.67 and found.max() < 1.21


def test_an_orthogonalized_matrix_keeps_its_directions() -> None:
    torch.manual_seed(2)
    matrix = torch.randn(24, 40)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = left.mT @ approximate_orthogonal(matrix[None])[0] @ right.mT
    assert (values - values.diag().diag()).abs().max() < 1e-5
    assert values.diag().min() > 0.3


@pytest.mark.parametrize("shape", [(64, 64), (64, 256), (256, 64)])
def test_an_update_is_as_large_as_one_of_adamw(shape: tuple[int, int]) -> None:
    torch.manual_seed(3)
    matrix = torch.randn(shape) * 1e-3
    orthogonalize([matrix])
    size = matrix.square().mean().sqrt().item()
    assert LIKE_ADAMW == 0.2 and size == pytest.approx(LIKE_ADAMW, rel=0.2)
    like = torch.linalg.matrix_norm(matrix, 2).item() / (LIKE_ADAMW * math.sqrt(max(shape)))
    assert 0.9 < like < 1.21


def test_views_into_a_larger_tensor_are_orthogonalized_in_place() -> None:
    torch.manual_seed(4)
    tensor = torch.randn(16, 48)
    expected = [part.contiguous() for part in tensor.chunk(3, dim=1)]
    for part in expected:
        orthogonalize([part])
    orthogonalize(tensor.chunk(3, dim=1))
    torch.testing.assert_close(tensor, torch.cat(expected, dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 64), (64, 16), (32, 32)])
def test_a_conv1d_learns_what_the_transposed_linear_layer_does_in_torchs_own_muon(
    inputs: int, outputs: int
) -> None:
    """torch computes in bf16, so only to its rounding."""
    torch.manual_seed(5)
    ours, theirs = Conv1D(outputs, inputs).weight, nn.Linear(inputs, outputs).weight
    with torch.no_grad():
        theirs.copy_(ours.mT)
    begin = ours.detach().clone()
    reference = torch.optim.Muon(
        [theirs], lr=RATE, weight_decay=0.3, momentum=0.7, adjust_lr_fn="match_rms_adamw"
    )
    optimizer = alone(ours)
    generator = torch.Generator().manual_seed(6)
    for _ in range(3):
        optimizer.param_groups[0]["lr"] = RATE
        ours.grad = torch.randn(ours.shape, generator=generator) * 0.01
        theirs.grad = ours.grad.mT.clone()
        optimizer.step()
        reference.step()
    moved = (ours - begin).norm()
    assert moved > 0.02 * begin.norm()
    assert (ours - theirs.mT).norm() < 0.03 * moved


def test_queries_keys_and_values_are_orthogonalized_as_three_matrices() -> None:
    torch.manual_seed(7)
    together = nn.Parameter(torch.randn(WIDTH, 3 * WIDTH))
    apart = [nn.Parameter(part.clone()) for part in together.detach().chunk(3, dim=1)]
    one, three = alone(together, matrices=3), [alone(part) for part in apart]
    for _ in range(3):
        together.grad = torch.randn(together.shape) * 0.01
        for part, gradient, optimizer in zip(
            apart, together.grad.chunk(3, dim=1), three, strict=True
        ):
            part.grad = gradient.clone()
            optimizer.param_groups[0]["lr"] = RATE
            optimizer.step()
        one.param_groups[0]["lr"] = RATE
        one.step()
    torch.testing.assert_close(together, torch.cat(apart, dim=1), rtol=1e-5, atol=1e-6)


def test_decay_is_apart_from_the_update() -> None:
    torch.manual_seed(8)
    weight = nn.Parameter(torch.randn(8, 16))
    before = weight.detach().clone()
    optimizer = alone(weight)
    optimizer.param_groups[0]["lr"] = 0.5
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before * 0.85)


def test_what_is_adamws_gets_the_bits_of_torchs_adamw() -> None:
    ours, theirs = new_model(), new_model()
    optimizer = build_optimizer(ours, CONFIG)
    steps_of(optimizer, list(ours.parameters()), steps=4, seed=9)
    reference = build_optimizer(theirs, OptimizerConfig(weight_decay=0.3, beta1=0.8, beta2=0.9))
    assert type(reference) is AdamW
    steps_of(reference, list(theirs.parameters()), steps=4, seed=9)
    other = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        assert torch.equal(p, other[name]) == (matrices_in(name) == 0), name


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Copies of all weights and of all that the optimizer remembers."""
    remembered = [t for p in model.parameters() for _, t in sorted(optimizer.state[p].items())]
    return [t.detach().clone() for t in (*model.parameters(), *remembered)]


def bits(tensors: list[torch.Tensor]) -> list[bytes]:
    return [t.numpy().tobytes() for t in tensors]


def test_found_inf_leaves_every_bit_as_it_was() -> None:
    model = new_model()
    optimizer = build_optimizer(model, CONFIG)
    steps_of(optimizer, list(model.parameters()), steps=2, seed=10)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = -0.0
    before = state_of(model, optimizer)
    for p in model.parameters():
        p.grad = torch.full_like(p, math.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert bits(state_of(model, optimizer)) == bits(before)


def test_a_found_inf_of_0_changes_no_bit_of_a_step() -> None:
    taken = []
    for found_inf in (None, torch.zeros(())):
        model = new_model()
        optimizer = build_optimizer(model, CONFIG)
        if found_inf is not None:
            optimizer.found_inf = found_inf
        before = state_of(model, optimizer)
        steps_of(optimizer, list(model.parameters()), steps=3, seed=11)
        taken.append(bits(state_of(model, optimizer)))
        assert taken[-1] != bits(before)
    assert taken[0] == taken[1]


class Asked(TorchDispatchMode):
    """Counts what makes the host wait for the device."""

    WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_never_waits_for_the_device() -> None:
    model = new_model()
    optimizer = build_optimizer(model, CONFIG)
    optimizer.found_inf = torch.zeros(())
    with Asked() as asked:
        steps_of(optimizer, list(model.parameters()), steps=2, seed=12)
    assert asked.operations["baddbmm"] >= 2 * 5 * 2
    assert not [name for name in Asked.WAITS if asked.operations[name]]


def test_a_flat_tensor_of_unknown_parts_is_not_orthogonalized() -> None:
    flat = nn.Parameter(torch.randn(64))
    optimizer = alone(flat)
    flat.grad = torch.randn(64)
    with pytest.raises(AssertionError, match="without set_slices"):
        optimizer.step()


def test_matrices_learn_alone() -> None:
    """Rows by heart, with embeddings and positions that stay as they are."""
    model = new_model(seed=13)
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
    for name, p in model.named_parameters():
        p.requires_grad_(bool(matrices_in(name)))
    groups = [group for group in build_optimizer(model, CONFIG).param_groups if group["params"]]
    optimizer = Muon(groups, betas=(0.9, 0.95), eps=1e-8)
    rows = torch.randint(0, 128, (32, 8), generator=torch.Generator().manual_seed(14))
    losses = []
    for step in range(60):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * min(1.0, (step + 1) / 10)
        loss = model(rows, labels=rows).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
