"""A training loop in the manner of nanoGPT, with a switch for each thing that makes ours fast.

With all switches on it computes what our engine computes, without DeepSpeed: the upper limit of our
engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn, optim
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import Recipe
from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.data.batch import Batch
from gpt2zh.data.loader import Portions, training_steps
from gpt2zh.model.attention import TRAINING
from gpt2zh.model.loss import IGNORED, SummedLoss
from gpt2zh.ranks.world import World
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.schedule import learning_rate

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class WholeLogits(nn.Module):
    """The summed loss over the logits of all tokens at once, as transformers computes it."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        """Wrap `model`."""
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the nats of all targets: (B, T), (B, T) to ()."""
        logits = self.model(input_ids=input_ids, use_cache=False).logits  # (B, T, V)
        targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")


class FullWeights:
    """fp32 weights; autocast computes the products in half precision."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, recipe: Recipe) -> None:
        """Build the optimizer over the model's own weights."""
        self.optimizer = _adamw(model, config, fused=recipe.fused_adamw)
        self._parameters = list(model.parameters())
        self._scaler = torch.amp.GradScaler(
            self._parameters[0].device.type, enabled=recipe.precision == "fp16"
        )

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a micro-batch."""
        self._scaler.scale(loss).backward()

    def step(self, clip: float) -> None:
        """Clip and update."""
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self._parameters, clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


class HalfWeights:
    """bf16 weights; fp32 master weights are updated by fp32 sums of gradients, as in DeepSpeed."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, recipe: Recipe) -> None:
        """Copy the weights to master weights and make the model bf16.

        Like DeepSpeed, copy weights that are rounded already.
        """
        self._parameters: list[torch.Tensor] = list(model.parameters())
        masters = nn.ParameterList(
            [nn.Parameter(p.detach().bfloat16().float()) for p in self._parameters]
        )
        model.to(torch.bfloat16)
        self._masters: list[torch.Tensor] = list(masters)
        self._sums = [torch.zeros_like(master) for master in self._masters]
        self.optimizer = _adamw(masters, config, fused=recipe.fused_adamw)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a micro-batch."""
        loss.backward()
        torch._foreach_add_(self._sums, [p.grad for p in self._parameters if p.grad is not None])
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, clip: float) -> None:
        """Clip, update the master weights and round them to the weights."""
        for master, total in zip(self._masters, self._sums, strict=True):
            master.grad = total
        nn.utils.clip_grad_norm_(self._masters, clip)
        self.optimizer.step()
        torch._foreach_copy_(self._parameters, self._masters)
        torch._foreach_zero_(self._sums)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Give the model the exact weights back."""
        model.float()
        torch._foreach_copy_(list(model.parameters()), self._masters)


def train(
    job: Job, recipe: Recipe, clock: StepClock, device: torch.device
) -> tuple[GPT2LMHeadModel, dict[int, float]]:
    """Train all steps.

    Returns:
        The model with fp32 weights, and the loss by step.
    """
    torch.set_float32_matmul_precision("highest" if recipe.precision == "fp32" else "high")
    torch.manual_seed(job.seed)
    model = load_model(job, recipe).to(device).train()
    weights = (HalfWeights if recipe.half_weights else FullWeights)(model, job.optimizer, recipe)
    module = _loss_module(model, recipe)
    if recipe.compile:  # as gpt2zh.train.engine.compile_model
        module.forward = torch.compile(module.forward, dynamic=False)
    losses: list[torch.Tensor] = []
    with contextlib.closing(_rows(job, recipe, device)) as rows:
        for step in range(1, job.total_steps + 1):
            clock.step_begins()
            with clock.waiting():
                batches = next(rows)
            rate = learning_rate(step, steps=job.total_steps, config=job.optimizer)
            for group in weights.optimizer.param_groups:
                group["lr"] = rate
            some = batches[::2] if recipe.is_halved else batches
            losses.append(_step(module, weights, some, job, recipe))
    if isinstance(weights, HalfWeights):
        weights.restore(model)
    return model, {step: loss.item() for step, loss in enumerate(losses, start=1)}


def load_model(job: Job, recipe: Recipe) -> GPT2LMHeadModel:
    """Load the initial weights in fp32, with the attention, activation and dropout of a recipe."""
    return GPT2LMHeadModel.from_pretrained(
        job.weights,
        local_files_only=True,
        dtype=torch.float32,
        attn_implementation="eager" if recipe.attention == "eager" else "sdpa",
        activation_function=recipe.activation,
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=recipe.dropout,
    )


def _loss_module(model: GPT2LMHeadModel, recipe: Recipe) -> nn.Module:
    if recipe.chunked_head:
        assert recipe.attention == "causal", "our loss needs our attention"
        return SummedLoss(model)
    if recipe.attention == "causal":
        model.set_attn_implementation(TRAINING)
    return WholeLogits(model)


def _step(
    module: nn.Module,
    weights: FullWeights | HalfWeights,
    batches: Sequence[Batch],
    job: Job,
    recipe: Recipe,
) -> torch.Tensor:
    """Take an optimizer step; return its loss in nats per token without waiting for the GPU."""
    targets = sum(batch.targets for batch in batches)
    nats = []
    for batch in batches:
        with _autocast(batch.input_ids.device, recipe):
            loss = module(batch.input_ids, batch.labels)
        nats.append(loss.detach())
        weights.backward(loss / targets)
    weights.step(job.optimizer.max_grad_norm)
    return torch.stack(nats).sum() / targets


def _autocast(device: torch.device, recipe: Recipe) -> contextlib.AbstractContextManager[Any]:
    if recipe.precision == "fp32" or recipe.half_weights:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[recipe.precision])


def _rows(job: Job, recipe: Recipe, device: torch.device) -> Any:
    """Start our loader as pretraining does."""
    portions = Portions(job.global_batch, int(recipe.micro_batch))
    return training_steps(job.data(), portions, first_step=1, start=0, world=World(), device=device)


def _adamw(model: nn.Module, config: OptimizerConfig, *, fused: bool) -> optim.Optimizer:
    ours = build_optimizer(model, config)
    if fused:
        return ours
    groups = [
        {key: group[key] for key in ("params", "weight_decay")} for group in ours.param_groups
    ]
    betas = (config.beta1, config.beta2)
    return optim.AdamW(groups, lr=0.0, betas=betas, eps=config.eps)  # torch's default: foreach
