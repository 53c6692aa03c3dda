"""AdamW: torch's own fused one, which needs no compiler on any device."""

from __future__ import annotations

from torch import nn, optim

from gpt2zh.config.schema import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> optim.AdamW:
    """Make AdamW with decay on matrices and embeddings only.

    The learning rate starts at 0: the loop sets it before every step, and DeepSpeed's wrapper of
    stage 0 in half precision takes one step with empty gradients when it is built
    (runtime/fp16/unfused_optimizer.py), which must not decay the weights.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if p.dim() >= 2],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return optim.AdamW(
        groups, lr=0.0, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
    )
