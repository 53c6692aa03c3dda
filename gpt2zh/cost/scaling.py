"""How fast a GPU is that trains together with many others: a model, not a measurement.

A step is the computing of its micro-batches (`cost.computing`), what the ranks wait for each other,
and the update of the weights. How much is sent is exact (`cost.traffic`); how long that takes is
assumed here, each assumption with its source. Links are judged by the ring that NCCL builds: it
passes every card of a machine, then goes on to the next machine, so the slowest link on it decides.
Not in the model: a network that others use, too, slow machines among fast ones, reading data,
saving, offload to the host, and the time that Python needs. The last can decide at ZeRO 2 and 3 on
fast cards: with small micro-batches, DeepSpeed's hooks at every parameter made a run on eight A100
2.6 times slower than without (github.com/TensorAuto/OpenTau, issue 177).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import Card
from gpt2zh.cost.computing import COMPILED, PRODUCTS, speed
from gpt2zh.cost.setting import Setting
from gpt2zh.cost.traffic import Traffic, Transfer, traffic
from gpt2zh.model import shape

LINKS = (10, 25, 100, 400)
"""Gb/s of all network cards of a machine together, in each direction."""
NETWORK = 0.75
"""Of a link's rate that NCCL reaches with RDMA: 600 of 800 Gb/s between two machines (github.com/
NVIDIA/nccl, issue 495). Over TCP it can be far less: 12 percent of 40 Gb/s Ethernet in DeepSpeed's
own profile (arXiv 2102.02888, table 1)."""
HOST_HOP = 50e-6
"""Seconds from one rank to the next in the exchange that ends a step. It goes around all ranks over
TCP (gloo/allgather.cc), while the GPUs wait."""
FLAGS = 4
"""Collectives of a few numbers in a step: targets, norm, overflow."""
_UPDATE_BYTES = 30
"""Read and written by AdamW per parameter that a rank updates: gradient, weight and both moments in
fp32, and the weight in half precision."""
_GRADIENT_BYTES = 16
"""Read and written per gradient that a rank holds: norm, clipping, clearing."""


@dataclass(frozen=True)
class _Way:
    """One of NCCL's ways to run a collective, as its tuner judges it (src/graph/tuning.cc)."""

    is_ring: bool
    start: float
    """Seconds."""
    nvlink: float
    """Seconds of a hop within a machine, as the next."""
    pcie: float
    network: float
    """Seconds of a hop from machine to machine."""
    share: float
    """Of the bandwidth."""


_WAYS = (
    _Way(True, 6.6e-6, 0.6e-6, 1.0e-6, 2.7e-6, 0.5),
    _Way(True, 8.4e-6, 3.4e-6, 5.7e-6, 14e-6, 1.0),
    _Way(False, 6.8e-6, 0.6e-6, 1.0e-6, 5.0e-6, 1 / 3.8),
    _Way(False, 8.4e-6, 4.0e-6, 5.7e-6, 14e-6, 0.92),
)


@dataclass(frozen=True)
class Cluster:
    """Machines with the same cards, and what joins them."""

    card: Card
    ranks: int
    ranks_per_machine: int
    gigabits: float
    """Gb/s of all network cards of a machine together, in each direction."""

    @property
    def machines(self) -> int:
        """As many as the ranks need."""
        return math.ceil(self.ranks / self.ranks_per_machine)

    @property
    def rate(self) -> float:
        """Bytes per second that each rank can pass on around the ring of all."""
        rates = []
        if min(self.ranks, self.ranks_per_machine) > 1:
            rates.append(self.card.link_rate)
        if self.machines > 1:
            rates.append(NETWORK * self.gigabits * 1e9 / 8)
        return min(rates, default=math.inf)

    def seconds(self, transfer: Transfer) -> float:
        """How long a collective takes, by the fastest of NCCL's ways."""
        if self.ranks == 1:
            return 0.0
        reduces = transfer.kind == "all-reduce"
        ways = [way for way in _WAYS if way.is_ring or reduces]
        times = (
            self._latency(way, there_and_back=reduces)
            + transfer.sent(self.ranks) / (self.rate * way.share)
            for way in ways
        )
        return min(times)

    def _latency(self, way: _Way, *, there_and_back: bool) -> float:
        hop = way.nvlink if self.card.has_nvlink else way.pcie
        if way.is_ring:
            between = self.machines - 1
            within = self.ranks - 1 - between
        else:
            between = math.ceil(math.log2(self.machines))
            within = math.ceil(self.ranks / self.machines) - 1
        return way.start + (1 + there_and_back) * (within * hop + between * way.network)


@dataclass(frozen=True)
class Job:
    """What is trained, as far as its speed depends on it."""

    model: ModelConfig
    vocabulary: int
    """Rows of the embedding, padded."""
    setting: Setting
    """How, on GPUs and on as many ranks as the cluster has."""

    @property
    def traffic(self) -> Traffic:
        """What the ranks send each other in a step."""
        return traffic(self.model, self.vocabulary, self.setting)


@dataclass(frozen=True)
class Step:
    """A predicted step; seconds of a rank."""

    forward: float
    backward: float
    update: float
    waiting: float
    """For other ranks, while nothing is computed."""
    alone: float
    """What a card takes that trains alone, as fast as it can, with as many micro-batches a step."""
    tokens: int
    """Of all ranks."""

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.forward + self.backward + self.update + self.waiting

    @property
    def efficiency(self) -> float:
        """Speed of a card as a share of that of a card that trains alone."""
        return self.alone / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Of all ranks."""
        return self.tokens / self.seconds


def predict(job: Job, cluster: Cluster) -> Step:
    """Predict a step of a job on a cluster."""
    setting, card = job.setting, cluster.card
    assert setting.ranks == cluster.ranks
    sent = job.traffic
    tokens = setting.resolved["train_micro_batch_size_per_gpu"] * job.model.context
    lone, forward = (
        tokens
        / 3
        / speed(
            card, job.model, job.vocabulary, is_compiled=is_compiled, is_half=setting.is_half
        ).expected
        for is_compiled in (setting.should_compile, setting.is_compiled)
    )
    passes_back = 3 if setting.recompute else 2
    backward, alone = passes_back * forward, (1 + passes_back) * lone
    passes = sent.micro_batches
    waiting = passes * _late_weights(sent.forward, forward, cluster)
    waiting += _late_gradients(sent, backward, cluster)
    waiting += sum(cluster.seconds(transfer) for transfer in sent.update)
    if cluster.ranks > 1:
        waiting += FLAGS * cluster.seconds(Transfer("all-reduce", 1, 4))
        waiting += (cluster.ranks - 1) * HOST_HOP
    return Step(
        forward=passes * forward,
        backward=passes * backward,
        update=_update_seconds(job, card, cluster.ranks),
        waiting=waiting,
        alone=passes * alone + _update_seconds(job, card, 1),
        tokens=tokens * passes * cluster.ranks,
    )


def _late_weights(transfers: Sequence[Transfer], forward: float, cluster: Cluster) -> float:
    """Seconds by which weights that are gathered ahead of their use delay a forward pass."""
    arrived = delay = 0.0
    for transfer in transfers:
        arrived += cluster.seconds(transfer)
        delay = max(delay, arrived - transfer.at * forward)
    return delay


def _late_gradients(sent: Traffic, backward: float, cluster: Cluster) -> float:
    """Seconds of a step in which gradients travel after the backward pass, or instead of it.

    Weights that ZeRO 3 gathers for the backward pass take their turns on the same links.
    """
    times = [cluster.seconds(transfer) for transfer in sent.gradients]
    again = sum(cluster.seconds(transfer) for transfer in sent.backward)
    if not sent.is_overlapped:
        return sent.reductions * sum(times) + sent.micro_batches * again
    done = 0.0
    slower = 1 + again / sum(times) if cluster.ranks > 1 else 1.0
    for transfer, seconds in zip(sent.gradients, times, strict=True):
        done = max(done, transfer.at * backward) + seconds * slower
    return sent.reductions * max(0.0, done - backward)


def _update_seconds(job: Job, card: Card, ranks: int) -> float:
    """Seconds of AdamW's or Muon's update; from ZeRO 1 on, each rank updates its part."""
    stage = job.setting.stage
    count = shape.parameters(job.model, job.vocabulary)
    mine = count / (ranks if stage >= 1 else 1)
    held = count / (ranks if stage >= 2 else 1)
    seconds = (_UPDATE_BYTES * mine + _GRADIENT_BYTES * held) / card.memory_rate
    if job.setting.optimizer == "muon":
        # One parameter at least, for a matrix that lies on several ranks is turned by each of them.
        total, largest = _turning_flops(job.model)
        turned = max(total / ranks, largest) if stage >= 1 else total
        peak = card.peak if card.has_bf16 else card.peak_fp32  # whatever the model's precision
        seconds += turned / (PRODUCTS * COMPILED * peak)
    return seconds


def _turning_flops(model: ModelConfig) -> tuple[float, float]:
    """FLOPs of Muon's iteration for all hidden matrices, and for the largest parameter."""

    def turn(short: int, long: int) -> float:
        return shape.ROUNDS * (4.0 * short * short * long + 2.0 * short**3)

    square, oblong = turn(model.width, model.width), turn(model.width, 4 * model.width)
    return model.layers * (4 * square + 2 * oblong), max(3 * square, oblong)
