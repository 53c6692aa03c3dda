"""AdamW: torch's own fused one, which needs no compiler on any device. Or Muon beside it."""

from __future__ import annotations

from torch import nn, optim

from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.model.shape import matrices_in
from gpt2zh.train.muon import Muon

MOMENTS = ("exp_avg", "exp_avg_sq")


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> optim.AdamW:
    """Make AdamW or Muon with decay on matrices and embeddings only.

    The learning rate starts at 0: the loop sets it before every step, and DeepSpeed's wrapper of
    stage 0 in half precision takes one step with empty gradients when it is built
    (runtime/fp16/unfused_optimizer.py), which must not decay the weights.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    turned = {name: matrices_in(name) for name, _ in named if config.kind == "muon"}
    groups: list[dict] = [
        {
            "params": [p for name, p in named if p.dim() >= 2 and not turned.get(name)],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for _, p in named if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    if config.kind == "adamw":
        return optim.AdamW(groups, lr=0.0, betas=betas, eps=config.eps, fused=True)
    groups += [
        {
            "params": [p for name, p in named if turned[name] == matrices],
            "weight_decay": config.weight_decay,
            "momentum": config.momentum,
            "matrices": matrices,
        }
        for matrices in (3, 1)
    ]
    return Muon(groups, betas=betas, eps=config.eps)


def kind_of(optimizer: optim.Optimizer) -> str:
    """The `optimizer.kind` that made it."""
    return "muon" if isinstance(optimizer, Muon) else "adamw"


def moments_of(kind: str, name: str) -> tuple[str, ...]:
    """The moments that an optimizer of this kind keeps of a parameter, as keys of its state."""
    return MOMENTS[:1] if kind == "muon" and matrices_in(name) else MOMENTS
