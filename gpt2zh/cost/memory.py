"""Estimate the memory of training on one rank, part by part. Pure arithmetic.

A step needs the most memory at one of four moments: at the end of the forward pass, when the logits
exist; at the start of the backward pass; at its end, when gradients are copied to be reduced; or
while the weights are updated. The parts are those of that moment, so their sum is the peak.

The arithmetic is in `activations` and `states`. tests/cost/test_memory.py compares it with the
peak of real steps on a CPU, tests/gpu/test_memory.py on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost import activations
from gpt2zh.cost.activations import ActivationBytes
from gpt2zh.cost.setting import Setting
from gpt2zh.cost.states import Phase, States, estimate_states
from gpt2zh.model import shape

CONTEXT = 800 * 2**20
"""Bytes of a GPU outside torch's allocator: the CUDA context with torch's kernels, and cuBLAS
workspaces. Others report 0.5 to 0.8 GiB; this is the upper end, not measured."""
COMMUNICATION = 400 * 2**20
"""Bytes of NCCL's buffers and kernels if there are several ranks; not measured."""
RESERVE = 0.05
"""Fraction of a GPU to leave free: for fragmentation in the caching allocator, and because a card
has less memory than its name says (24 GB of an RTX 3090 are 23.7 GiB)."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the device of one rank at one moment of a step."""

    parameters: int
    gradients: int
    optimizer: int
    """fp32 weights and moments."""
    activations: int
    logits: int
    """Of the logits of a chunk and their gradients, and mostly of the head's gradient in fp32."""
    buckets: int
    """Of DeepSpeed's copies of gradients."""
    context: int
    """Of the CUDA libraries themselves."""
    host: int
    """In host memory, for what is offloaded; not in the total. CUDA may round the size of each
    page-locked buffer up to a power of 2, which is not counted."""

    @property
    def total(self) -> int:
        """Sum of all bytes on the device."""
        return sum(getattr(self, field.name) for field in fields(self)) - self.host


def training_memory(
    model: ModelConfig, vocabulary: int, setting: Setting, *, micro_batch: int
) -> Memory:
    """Estimate the memory of a rank at the peak of a step.

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
    """Estimate the memory of a rank between two steps, and the peak of each part of a step.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
        micro_batch: Rows of a forward pass.
    """
    kept = estimate_states(model, vocabulary, setting)
    return _phases(model, vocabulary, setting, kept, micro_batch * model.context)


def largest_micro_batch(
    model: ModelConfig, vocabulary: int, setting: Setting, *, device_bytes: int, most: int
) -> int:
    """Return the most rows of a micro-batch that fit with `RESERVE` left free; 0 if none fits.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
        device_bytes: Memory of the card; or what a rank may use of a host, where offloaded states
            use the same memory.
        most: Largest number of rows to return.
    """
    kept = estimate_states(model, vocabulary, setting)

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

    def moment(held: ActivationBytes, phase: Phase) -> Memory:
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
        moment(ActivationBytes(0, 0), kept.reduction),
    )
    return {
        "rest": moment(ActivationBytes(0, 0), kept.rest),
        "forward": moment(activations.after_head(model, vocabulary, setting, tokens), kept.forward),
        "backward": max(backward, key=lambda memory: memory.total),
        "update": moment(ActivationBytes(0, 0), kept.update),
    }


def checkpoint_bytes(model: ModelConfig, vocabulary: int, optimizer: str) -> int:
    """Return the bytes of a checkpoint, all in fp32: weights and two moments, or one with Muon.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        optimizer: The `optimizer.kind`.
    """
    numbers = 3 * shape.parameters(model, vocabulary)
    return 4 * (numbers - shape.count_muon_elements(model) if optimizer == "muon" else numbers)
