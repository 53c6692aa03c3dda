"""A training loop in the manner of nanoGPT, with a switch for each thing that makes ours fast.

With all switches on it computes what our engine computes, without DeepSpeed: the upper limit of our
engine.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import OPTIMIZER, SEED, Job
from benchmarks.throughput.recipes import Recipe
from gpt2zh.data.batch import Batch
from gpt2zh.data.loader import Portions, training_steps
from gpt2zh.model.attention import TRAINING
from gpt2zh.model.loss import SummedLoss
from gpt2zh.model.shape import IGNORED
from gpt2zh.ranks.world import World
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.schedule import learning_rate

Trained = tuple[GPT2LMHeadModel, dict[int, float]]
"""What every loop returns: the model with fp32 weights and no autocast, and the loss by step."""


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

    def __init__(self, module: nn.Module, precision: str) -> None:
        """Take a module that returns the summed loss, and build its optimizer."""
        self.module = module
        self.masters: list[torch.Tensor] = list(module.parameters())
        self.optimizer = build_optimizer(module, OPTIMIZER)
        device, half = self.masters[0].device.type, precision != "fp32"
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        self._autocast = torch.autocast(device, dtype=dtype, enabled=half)
        self._scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the nats of a micro-batch, shape ()."""
        with self._autocast:
            return self.module(batch.input_ids, batch.labels)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a micro-batch."""
        self._scaler.scale(loss).backward()

    def update(self) -> None:
        """Clip the gradients and take a step."""
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.masters, OPTIMIZER.max_grad_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


class HalfWeights(FullWeights):
    """bf16 weights; fp32 master weights are updated by fp32 sums of gradients, as in DeepSpeed."""

    @torch.no_grad()
    def __init__(self, module: nn.Module, precision: str) -> None:
        """Keep the weights as master weights, rounded to bf16 as in DeepSpeed; a copy computes."""
        assert precision == "bf16", precision
        super().__init__(module, "fp32")
        self.module = copy.deepcopy(module).bfloat16()
        self._weights: list[torch.Tensor] = list(self.module.parameters())
        torch._foreach_copy_(self.masters, self._weights)
        self._sums = [torch.zeros_like(master) for master in self.masters]
        for master, total in zip(self.masters, self._sums, strict=True):
            master.grad = total

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a micro-batch."""
        loss.backward()
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        torch._foreach_add_(self._sums, gradients)
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def update(self) -> None:
        """Clip the sums, update the master weights and round them to the weights."""
        nn.utils.clip_grad_norm_(self.masters, OPTIMIZER.max_grad_norm)
        self.optimizer.step()
        torch._foreach_copy_(self._weights, self.masters)
        self.optimizer.zero_grad(set_to_none=False)


def train(job: Job, recipe: Recipe, clock: StepClock, device: torch.device) -> Trained:
    """Train all steps."""
    torch.set_float32_matmul_precision("highest" if recipe.precision == "fp32" else "high")
    torch.manual_seed(SEED)
    model = load_model(job, recipe).to(device).train()
    kind = HalfWeights if recipe.half_weights else FullWeights
    weights = kind((SummedLoss if recipe.chunked_head else WholeLogits)(model), recipe.precision)
    if recipe.compile:  # as gpt2zh.train.engine.compile_model
        weights.module.forward = torch.compile(weights.module.forward, dynamic=False)
    losses: list[torch.Tensor] = []
    portions = Portions(job.global_batch, recipe.micro_batch)
    rows = training_steps(job.data(), portions, first_step=1, start=0, world=World(), device=device)
    with contextlib.closing(rows):
        for step in range(1, job.total_steps + 1):
            clock.step_begins()
            batches = next(rows)
            rate = learning_rate(step, steps=job.total_steps, config=OPTIMIZER)
            some = batches[::2] if recipe.is_halved else batches
            losses.append(take_step(weights, some, rate))
    return model, {step: loss.item() for step, loss in enumerate(losses, start=1)}


def load_model(job: Job, recipe: Recipe) -> GPT2LMHeadModel:
    """Load the initial weights in fp32, with the attention, activation and dropout of a recipe."""
    return GPT2LMHeadModel.from_pretrained(
        job.work / "weights",
        local_files_only=True,
        dtype=torch.float32,
        attn_implementation=TRAINING if recipe.attention == "causal" else recipe.attention,
        activation_function="gelu_new" if recipe.loop == "trainer" else "gelu_pytorch_tanh",
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=recipe.dropout,
    )


def take_step(weights: FullWeights, batches: Sequence[Batch], rate: float) -> torch.Tensor:
    """Take an optimizer step; return its loss in nats per token without waiting for the GPU."""
    for group in weights.optimizer.param_groups:
        group["lr"] = rate
    targets = sum(batch.targets for batch in batches)
    nats = []
    for batch in batches:
        loss = weights.loss(batch)
        nats.append(loss.detach())
        weights.backward(loss / targets)
    weights.update()
    return torch.stack(nats).sum() / targets
