"""Build the optimizer: torch's fused AdamW, or Muon for the matrices with AdamW for the rest.

torch's AdamW and not DeepSpeed's: it needs no C++ compiler on any device.
"""

from __future__ import annotations

from torch import nn, optim

from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.model.shape import matrices_in
from gpt2zh.train.muon import Muon

MOMENTS = ("exp_avg", "exp_avg_sq")


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> optim.AdamW:
    """Build AdamW or Muon, with weight decay on matrices and embeddings only.

    The learning rate starts at 0: the loop sets it before every step, and DeepSpeed's wrapper of
    stage 0 in half precision takes one step with empty gradients when it is built
    (runtime/fp16/unfused_optimizer.py), which must not decay the weights.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrix_counts = {name: matrices_in(name) for name, _ in named if config.kind == "muon"}
    groups: list[dict] = [
        {
            "params": [p for name, p in named if p.dim() >= 2 and not matrix_counts.get(name)],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for _, p in named if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    if config.kind == "adamw":
        return optim.AdamW(groups, lr=0.0, betas=betas, eps=config.eps, fused=True)
    groups += [
        {
            "params": [p for name, p in named if matrix_counts[name] == matrices],
            "weight_decay": config.weight_decay,
            "momentum": config.momentum,
            "matrices": matrices,
        }
        for matrices in (3, 1)
    ]
    return Muon(groups, betas=betas, eps=config.eps)


def kind_of(optimizer: optim.Optimizer) -> str:
    """Return the `optimizer.kind` of an optimizer."""
    return "muon" if isinstance(optimizer, Muon) else "adamw"


def moments_of(kind: str, name: str) -> tuple[str, ...]:
    """Return the state keys of the moments that this kind of optimizer keeps for a parameter."""
    return MOMENTS[:1] if kind == "muon" and matrices_in(name) else MOMENTS
