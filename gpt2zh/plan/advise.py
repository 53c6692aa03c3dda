"""Name a shipped config that runs with some rows on this machine, and the time that it takes.

The time is an estimate: of a known GPU from `cost.computing`, of a CPU from its number of cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.computing import speed
from gpt2zh.model import shape
from gpt2zh.pages.numbers import count, duration, plural
from gpt2zh.plan.machine import Machine

LONG = 12 * 3600
"""Seconds; nobody should wait longer for a CPU without having been warned."""

_FEW_STEPS = 100  # of a pass; fewer teach a large model nothing
_SHORT = 3600  # seconds of the run that is named where a whole pass takes longer than `LONG`


@dataclass(frozen=True)
class Shipped:
    """What matters here of a config in `configs/`."""

    name: str
    layers: int
    heads: int
    width: int
    global_batch: int
    precision: str

    @property
    def file(self) -> str:
        """Path from the root of the project."""
        return f"configs/{self.name}.yaml"


SMALL = Shipped("gpt2-small", 12, 12, 768, 960, "bf16")
TINY = Shipped("gpt2-tiny", 4, 4, 128, 8, "fp32")


@dataclass(frozen=True)
class Advice:
    """A run that can be started."""

    config: Shipped
    options: tuple[str, ...]
    """Options that the config needs for these rows on this machine."""
    steps: int
    seconds: float | None
    """Of the run; None if the speed of the GPU is not known."""
    pass_seconds: float | None
    """Of one pass over the rows."""
    machine: Machine

    @property
    def text(self) -> str:
        """Return how long it takes, in one sentence."""
        work = plural(self.steps, "step")
        if self.seconds is None:
            return f"{work}: one pass over the rows"
        where = plural(self.machine.cores, "CPU core")
        if self.machine.gpus:
            name = self.machine.card.name if self.machine.card else "GPU"
            where = f"{count(self.machine.gpus)} x {name}"
        time = "less than a minute" if self.seconds < 60 else f"about {duration(self.seconds)}"
        text = f"{work} in {time} on {where}, by estimate"
        if self.seconds != self.pass_seconds:
            text += f"; one pass over the rows would take about {duration(self.pass_seconds)}"
        return text


def advise(rows: int, machine: Machine, *, row_length: int, tokens: int) -> Advice:
    """Return a run that can be started with some rows.

    Args:
        rows: Rows to train on, at least 1.
        machine: Where.
        row_length: Tokens of a row.
        tokens: Ids of the tokenizer.
    """
    enough = rows >= _FEW_STEPS * SMALL.global_batch
    config = SMALL if machine.gpus and enough else TINY
    options: list[str] = []
    if row_length != ModelConfig().context:
        options += ["--model.context", str(row_length)]
    batch = min(config.global_batch, rows)
    if batch < config.global_batch:
        options += ["--train.global_batch", str(batch), "--train.micro_batch", "1"]
    card = machine.card
    if config is SMALL and card is not None and not card.has_bf16:
        options += ["--train.precision", "fp16"]
    steps = math.ceil(rows / batch)
    rate = tokens_per_second(config, machine, context=row_length, tokens=tokens)
    whole = rows * row_length / rate if rate else None
    taken, seconds = steps, whole
    if whole is not None and whole > LONG and not machine.gpus:
        taken = max(1, math.floor(float(f"{steps * _SHORT / whole:.1g}")))
        options += ["--train.steps", str(taken)]
        seconds = whole * taken / steps
    return Advice(config, tuple(options), taken, seconds, whole, machine)


def tokens_per_second(
    config: Shipped, machine: Machine, *, context: int, tokens: int
) -> float | None:
    """Estimate how fast a machine trains a shipped config; None if its GPU is not known."""
    model = ModelConfig(
        layers=config.layers, heads=config.heads, width=config.width, context=context
    )
    vocabulary = shape.padded_vocabulary(tokens)
    if not machine.gpus:
        return machine.cpu_flops / shape.flops_per_token(model, vocabulary)
    if machine.card is None:
        return None
    is_half = config.precision != "fp32"
    alone = speed(machine.card, model, vocabulary, is_compiled=True, is_half=is_half)
    return alone.expected * machine.gpus
