"""The memory that training takes on one rank, part by part. Pure arithmetic, and an estimate.

A step has its fullest moment either at the end of the forward pass, when the head has its logits;
as the backward pass begins; at its end, when gradients are copied to be reduced; or while the
weights are updated. The parts are those of that moment, so their sum is what is needed.

The arithmetic is in `activations` and `states`. tests/cost/test_memory.py compares it with the
peak of real steps on a CPU, tests/gpu/test_memory.py with that on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost import activations
from gpt2zh.cost.activations import Held
from gpt2zh.cost.setting import Setting
from gpt2zh.cost.states import Phase, States, states
from gpt2zh.model import shape

CONTEXT = 800 * 2**20
"""Bytes of a GPU that torch's allocator does not hand out: CUDA's context with the kernels of
torch, and cuBLAS' workspaces. 0.5 to 0.8 GiB by others' reports, the upper end; not measured."""
COMMUNICATION = 400 * 2**20
"""Bytes of NCCL's buffers and kernels where there are several ranks; not measured."""
RESERVE = 0.05
"""Share of a GPU that is left free: what the caching allocator cannot use because it lies in
pieces, and what a card shows less than it is called by (24 GB of an RTX 3090 are 23.7 GiB)."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the device of one rank at the fullest moment of a step."""

    parameters: int
    gradients: int
    optimizer: int
    """fp32 weights and moments."""
    activations: int
    logits: int
    """Of a chunk of tokens, and what the head makes of them: mostly its gradient in fp32."""
    buckets: int
    """What DeepSpeed copies gradients into."""
    context: int
    """What the CUDA libraries take for themselves."""
    host: int
    """Bytes of host memory for what is offloaded, not in the total. CUDA may round each of its
    page-locked buffers up to the next power of 2 beyond this."""

    @property
    def total(self) -> int:
        """Bytes on the device."""
        return sum(getattr(self, field.name) for field in fields(self)) - self.host

    @property
    def states(self) -> int:
        """What does not depend on the micro-batch."""
        return self.parameters + self.gradients + self.optimizer + self.buckets


def training_memory(
    model: ModelConfig, vocabulary: int, setting: Setting, *, micro_batch: int
) -> Memory:
    """Estimate the memory of a rank.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
        micro_batch: Rows of a forward pass.
    """
    phases = training_phases(model, vocabulary, setting, micro_batch=micro_batch)
    return max(phases.values(), key=lambda memory: memory.total)


def training_phases(
    model: ModelConfig, vocabulary: int, setting: Setting, *, micro_batch: int
) -> dict[str, Memory]:
    """Estimate the memory of a rank between steps, and in each part of one where it is fullest.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
        micro_batch: Rows of a forward pass.
    """
    kept = states(model, vocabulary, setting)
    return _phases(model, vocabulary, setting, kept, micro_batch * model.context)


def largest_micro_batch(
    model: ModelConfig, vocabulary: int, setting: Setting, *, device_bytes: int, most: int
) -> int:
    """The most rows of a micro-batch that fit, with `RESERVE` left free; 0 if not even one does.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
        device_bytes: Of the whole card, or what a rank may use of a host, where what is offloaded
            takes the same memory.
        most: No more rows than these.
    """
    kept = states(model, vocabulary, setting)

    def fits(rows: int) -> bool:
        phases = _phases(model, vocabulary, setting, kept, rows * model.context)
        needed = max(memory.total for memory in phases.values())
        return needed + (0 if setting.on_gpu else kept.host) <= device_bytes * (1 - RESERVE)

    enough, too_many = 0, most + 1
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if fits(middle):
            enough = middle
        else:
            too_many = middle
    return enough


def _phases(
    model: ModelConfig, vocabulary: int, setting: Setting, kept: States, tokens: int
) -> dict[str, Memory]:
    context = CONTEXT + (COMMUNICATION if setting.ranks > 1 else 0)

    def moment(held: Held, phase: Phase) -> Memory:
        return Memory(
            parameters=int(kept.parameters + phase.gathered),
            gradients=int(phase.gradients),
            optimizer=int(kept.optimizer),
            activations=held.activations,
            logits=held.logits,
            buckets=int(phase.buckets),
            context=context if setting.on_gpu else 0,
            host=int(kept.host),
        )

    backward = (
        moment(activations.before_blocks(model, vocabulary, setting, tokens), kept.forward),
        moment(activations.in_last_block(model, vocabulary, setting, tokens), kept.backward),
        moment(Held(0, 0), kept.reduction),
    )
    return {
        "rest": moment(Held(0, 0), kept.rest),
        "forward": moment(activations.after_head(model, vocabulary, setting, tokens), kept.forward),
        "backward": max(backward, key=lambda memory: memory.total),
        "update": moment(Held(0, 0), kept.update),
    }


def checkpoint_bytes(model: ModelConfig, vocabulary: int, optimizer: str) -> int:
    """Bytes of a checkpoint: weights and two moments, or one of what Muon updates, all in fp32.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        optimizer: Its kind.
    """
    numbers = 3 * shape.parameters(model, vocabulary)
    return 4 * (numbers - shape.turned_elements(model) if optimizer == "muon" else numbers)
