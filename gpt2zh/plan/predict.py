"""What other ZeRO settings would need and how fast they would be: a prediction, not a measurement.

A step takes the time in which a card computes (`cost.computing`) plus the time in which the ranks
send (`cost.traffic`). NCCL sends around a ring through all ranks, so its slowest link decides.
Not counted: the update of the weights, reading data, saving, latencies, and slow machines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from gpt2zh.config import deepspeed, profiles
from gpt2zh.cost.cards import Card
from gpt2zh.cost.computing import speed
from gpt2zh.cost.memory import RESERVE, largest_micro_batch, training_memory
from gpt2zh.cost.setting import Setting
from gpt2zh.cost.traffic import count_traffic
from gpt2zh.pages.numbers import plural
from gpt2zh.plan.fit import resolve_all
from gpt2zh.plan.setup import Setup, setting_of

GIB = 2**30
MOST_ROWS = 4096
"""Largest micro-batch that is tried."""
NETWORK_SHARE = 0.75
"""Share of a network's rate that NCCL reaches with RDMA: 600 of 800 Gbit/s between two machines
(github.com/NVIDIA/nccl, issue 495). Over TCP it can be far less."""


@dataclass(frozen=True)
class Cluster:
    """Machines with equal cards."""

    card: Card
    ranks: int
    ranks_per_machine: int
    network: float
    """Gbit/s of all network cards of a machine together."""

    @property
    def machines(self) -> int:
        """Machines that the ranks need."""
        return math.ceil(self.ranks / self.ranks_per_machine)

    @property
    def rate(self) -> float:
        """Bytes per second that each rank passes on around the ring; infinite for one rank."""
        rates = []
        if min(self.ranks, self.ranks_per_machine) > 1:
            rates.append(self.card.link_rate)
        if self.machines > 1:
            rates.append(NETWORK_SHARE * self.network * 1e9 / 8)
        return min(rates, default=math.inf)


@dataclass(frozen=True)
class Choice:
    """A ZeRO setting, with or without activation checkpointing."""

    name: str
    recompute: bool
    """With activation checkpointing."""
    is_planned: bool
    """Whether it is the setting of the plan."""
    memory: int
    """Bytes that a rank needs, with the micro-batch of the plan."""
    most_rows: int
    """Largest micro-batch that fits; 0 if not even one row does."""
    seconds: float | None
    """Of a step with the micro-batch of the plan; None if that does not fit, or if the optimizer
    runs on the host, whose speed is not predicted."""


def describe_choices(setup: Setup, cluster: Cluster) -> Iterator[str]:
    """Yield the lines of the table: memory, largest micro-batch and speed of each ZeRO setting.

    Args:
        setup: The plan.
        cluster: Has as many ranks as the plan.
    """
    card, machines = cluster.card, cluster.machines
    joined = f", {cluster.rate / 1e9:.1f} GB/s between ranks" if cluster.ranks > 1 else ""
    yield (
        f"predicted, not measured: {cluster.ranks} x {card.name} of {card.memory / GIB:.0f} GiB in "
        f"{plural(machines, 'machine')}{joined}"
    )
    cells = [("ZeRO setting", "recompute", "GiB/rank", "most rows", "s/step", "tokens/s")]
    marks = [" "]
    for choice in list_choices(setup, cluster):
        rows = f"{choice.most_rows}{'+' if choice.most_rows == MOST_ROWS else ''}"
        time, rate = "-", "-"
        if choice.seconds is not None:
            time, rate = f"{choice.seconds:.2f}", f"{setup.tokens_per_step / choice.seconds:,.0f}"
        again = "yes" if choice.recompute else "no"
        memory = f"{choice.memory / GIB:.2f}"
        cells.append((choice.name, again, memory, rows if choice.most_rows else "-", time, rate))
        marks.append("*" if choice.is_planned else " ")
    wide = max(len(line[0]) for line in cells)
    for mark, (name, *numbers) in zip(marks, cells, strict=True):
        yield f"{mark} {name:<{wide}}" + "".join(f"{number:>11}" for number in numbers)
    yield (
        "* is the plan above; recompute is train.activation_checkpointing; GiB/rank and speed are "
        f"of {plural(setup.micro_batch, 'row')}\nin a micro-batch; most rows leave "
        f"{RESERVE:.0%} of the card "
        "free; - does not fit, or is not predicted (optimizer on the host)"
    )


def list_choices(setup: Setup, cluster: Cluster) -> Iterator[Choice]:
    """Yield the setting of the plan and those of `config.profiles`, each with its costs.

    Args:
        setup: The plan.
        cluster: Has as many ranks as the plan.
    """
    assert setup.ranks == cluster.ranks
    config, model = setup.config, setup.config.model
    raws = [dict(setup.raw)]
    raws += [raw for raw in profiles.candidates(setup.ranks) if raw != setup.raw]
    enough = cluster.card.memory * (1 - RESERVE)
    one_row = dataclasses.replace(config.train, micro_batch=1)
    for raw, resolved in resolve_all(raws, config.train, config.optimizer, setup.ranks):
        smallest = deepspeed.resolve(raw, one_row, config.optimizer, setup.ranks)
        for recompute in (False, True):
            setting = setting_of(config, resolved, ranks=setup.ranks, on_gpu=True)
            setting = dataclasses.replace(setting, recompute=recompute)
            memory = training_memory(
                model, setup.vocabulary, setting, micro_batch=setup.micro_batch
            ).total
            yield Choice(
                name=_name_setting(setting),
                recompute=recompute,
                is_planned=raw == setup.raw and recompute == config.train.activation_checkpointing,
                memory=memory,
                most_rows=largest_micro_batch(
                    model,
                    setup.vocabulary,
                    dataclasses.replace(setting, resolved=smallest),
                    device_bytes=cluster.card.memory,
                    most=MOST_ROWS,
                ),
                seconds=predict_seconds(setup, setting, cluster) if memory <= enough else None,
            )


def predict_seconds(setup: Setup, setting: Setting, cluster: Cluster) -> float | None:
    """Predict the seconds of an optimizer step; None if the optimizer runs on the host.

    Args:
        setup: The model and its batch.
        setting: How it is trained.
        cluster: What computes and sends.
    """
    if setting.offloads("optimizer"):
        return None
    model, vocabulary = setup.config.model, setup.vocabulary
    alone = speed(
        cluster.card,
        model,
        vocabulary,
        is_compiled=setting.is_compiled,
        is_half=setting.is_half,
    )
    forward = setup.tokens_per_step / setup.ranks / alone.expected / 3
    backward = (3 if setting.recompute else 2) * forward  # twice the products, and forward again
    found = count_traffic(model, vocabulary, setting)
    sent = sum(part.sent(setup.ranks) for part in found.gradients) * found.reductions
    gradients = sent / cluster.rate
    others = found.sent(setup.ranks) / cluster.rate - gradients
    if found.is_overlapped:  # gradients travel while the backward pass goes on
        gradients = max(0.0, gradients - backward)
    return forward + backward + gradients + others


def _name_setting(setting: Setting) -> str:
    """Return stage and offload in words."""
    places: dict[deepspeed.Offload, str] = {"optimizer": "optimizer", "param": "weights"}
    away = [name for key, name in places.items() if setting.offloads(key)]
    host = f", {' and '.join(away)} on the host" if away else ""
    return f"ZeRO {setting.stage}{host}"
