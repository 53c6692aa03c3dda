"""The parameters of a GPT-2 by name and size, and the orders in which training uses them. No torch.

What ZeRO sends depends on more than their sum: it pads groups and tensors, fills buckets in the
order of the gradients, and gathers weights in the order of the modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.model.shape import matrices_in


@dataclass(frozen=True)
class Weight:
    """One parameter."""

    name: str
    elements: int
    is_matrix: bool
    """Two-dimensional; biases and norms are not."""


Module = tuple[Weight, ...]
"""The parameters of one module without its submodules; most modules have none."""


@dataclass(frozen=True)
class Weights:
    """All parameters of a model."""

    positions: Module
    embedding: Module
    """Its weight is also that of the output head."""
    blocks: tuple[tuple[Module, ...], ...]
    """The modules of each block: ln_1, c_attn, c_proj, ln_2, c_fc, mlp.c_proj."""
    last_norm: Module

    @property
    def all(self) -> list[Weight]:
        """All parameters, in the order of torch's `parameters()`."""
        inner = [weight for block in self.blocks for module in block for weight in module]
        return [*self.embedding, *self.positions, *inner, *self.last_norm]

    @property
    def by_gradient(self) -> list[Weight]:
        """All parameters, in the order in which the backward pass completes their gradients."""
        inner: list[Weight] = []
        for block in reversed(self.blocks):
            for number, module in reversed(list(enumerate(block))):
                is_norm = number in (0, 3)
                inner += module if is_norm else reversed(module)  # a bias comes before its matrix
        return [*self.last_norm, *inner, *self.positions, *self.embedding]

    def groups(self, optimizer: str) -> list[list[Weight]]:
        """Return the groups of `train.optimizer.build_optimizer` for an `optimizer.kind`."""
        matrices = {w: matrices_in(w.name) for w in self.all if optimizer == "muon"}
        return [
            [w for w in self.all if keeps(w)]
            for keeps in (
                lambda w: w.is_matrix and not matrices.get(w),
                lambda w: not w.is_matrix,
                lambda w: matrices.get(w) == 3,
                lambda w: matrices.get(w) == 1,
            )
            if any(map(keeps, self.all))
        ]

    def muon_groups(self, optimizer: str) -> list[list[Weight]]:
        """Return the groups that Muon updates; none with AdamW."""
        return self.groups(optimizer)[2:]

    def calls(self, *, recompute: bool) -> tuple[list[Module], list[Module]]:
        """Return the modules in the order in which a forward and a backward pass enter them.

        Modules without parameters are included, since ZeRO 3 prefetches weights at each module.

        Args:
            recompute: Whether blocks are computed again in the backward pass.
        """
        none: Module = ()
        forward = [none, none, self.embedding, self.positions, none]
        backward = [none, self.embedding, none, self.last_norm]
        for ln_1, c_attn, c_proj, ln_2, c_fc, mlp in self.blocks:
            forward += [none, ln_1, none, c_attn, c_proj, none, ln_2, none, c_fc, none, mlp, none]
        for ln_1, c_attn, c_proj, ln_2, c_fc, mlp in reversed(self.blocks):
            again = [ln_1, none, c_attn, c_proj, none, ln_2, none, c_fc, none, mlp]
            backward += [none, none, none, mlp, *(again if recompute else ())]
            backward += [none, c_fc, ln_2, none, none, c_proj, c_attn, ln_1]
        return [*forward, self.last_norm, self.embedding], [
            *backward,
            none,
            self.positions,
            self.embedding,
        ]


def weights_of(model: ModelConfig, vocabulary: int) -> Weights:
    """Return the parameters of a model.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
    """
    width = model.width

    def norm(name: str) -> Module:
        return (Weight(f"{name}.weight", width, False), Weight(f"{name}.bias", width, False))

    def linear(name: str, rows: int, columns: int) -> Module:
        matrix = Weight(f"{name}.weight", rows * columns, True)
        return (matrix, Weight(f"{name}.bias", columns, False))

    def block(name: str) -> tuple[Module, ...]:
        return (
            norm(f"{name}.ln_1"),
            linear(f"{name}.attn.c_attn", width, 3 * width),
            linear(f"{name}.attn.c_proj", width, width),
            norm(f"{name}.ln_2"),
            linear(f"{name}.mlp.c_fc", width, 4 * width),
            linear(f"{name}.mlp.c_proj", 4 * width, width),
        )

    return Weights(
        positions=(Weight("wpe.weight", model.context * width, True),),
        embedding=(Weight("wte.weight", vocabulary * width, True),),
        blocks=tuple(block(f"h.{number}") for number in range(model.layers)),
        last_norm=norm("ln_f"),
    )


def count_padded(group: Sequence[Weight], ranks: int) -> int:
    """Return the elements of a group after padding: DeepSpeed aligns the parts to 4 bytes."""
    multiple = 2 * ranks  # nccl_start_alignment_factor (zero/stage_1_and_2.py)
    return -(-sum(weight.elements for weight in group) // multiple) * multiple


def find_owners(group: Sequence[Weight], ranks: int) -> Iterator[tuple[Weight, range]]:
    """Yield each parameter with the ranks that hold a part of it at ZeRO 1 and 2.

    Args:
        group: Parameters in the order in which ZeRO flattens them, to be divided equally.
        ranks: Number of processes.
    """
    part, begin = count_padded(group, ranks) // ranks, 0
    for weight in group:
        end = begin + weight.elements
        yield weight, range(begin // part, (end - 1) // part + 1)
        begin = end
