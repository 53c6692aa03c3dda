"""Muon for the hidden matrices of a GPT-2 and AdamW for all else, as one optimizer.

Muon (Keller Jordan, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the
nearest matrix whose singular values are all about 1, so that rare directions move as far as common
ones. It is meant for matrices between hidden layers. The embedding, which is the output head too,
the positions, biases and norms stay with AdamW, as there.

An update of Muon is scaled to the root mean square of one of AdamW (Moonlight, arXiv 2502.16982,
section 2.2). So one learning rate and one weight decay serve both kinds, and those that suit AdamW
are where to begin.

A GPT-2 of transformers stores its matrices as (in, out), the transpose of what others do. Nothing
here minds: the nearest orthogonal matrix of a transpose is the transpose, and the scale is the same
for both. What does matter is that `c_attn` holds three matrices side by side. Together they would
share the singular values; apart they train better (Jordan, "Empirical considerations").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.optim import AdamW

from gpt2zh.model.shape import AT_ONCE, ROUNDS

LIKE_ADAMW = 0.2
"""Root mean square of an update of AdamW at the learning rate 1, by Moonlight's measurement."""
# A polynomial that moves all singular values in (0, 1] close to 1 in five rounds (Jordan).
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_TINY = 1e-7


@dataclass(frozen=True)
class ParameterSlice:
    """What this rank holds of a parameter, in a flat tensor that ZeRO has cut from many."""

    shape: torch.Size
    """Of the whole parameter."""
    start: int
    """Its first element in the flat tensor."""
    first: int
    """The same element in the parameter."""
    count: int
    shared: int | None
    """Where the parameter begins among those that several ranks hold pieces of; None if it is
    whole here."""

    def in_flat(self, flat: torch.Tensor) -> torch.Tensor:
        """The piece, in the flat tensor."""
        return flat.narrow(0, self.start, self.count)

    def in_shared(self, shared: torch.Tensor) -> torch.Tensor:
        """The piece, among the parameters that several ranks hold pieces of."""
        assert self.shared is not None
        return shared.narrow(0, self.shared + self.first, self.count)

    def whole(self, flat: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """The parameter, wherever it is complete."""
        if self.shared is None:
            return self.in_flat(flat).view(self.shape)
        return shared.narrow(0, self.shared, self.shape.numel()).view(self.shape)


class Muon(AdamW):
    """AdamW in which the groups that have `matrices` are updated by Muon instead.

    Such a group tells the number of matrices side by side in each of its parameters, its `momentum`
    and `weight_decay`. The state of a parameter is its momentum, as `exp_avg`. A step uses up the
    gradients of these groups, never waits for the device, and is none if the device tensor
    `found_inf` is not 0, like one of AdamW.

    At ZeRO stage 0 the parameters are whole. At 1 and 2 a group has one flat tensor, which begins
    and ends anywhere: `cut` tells what lies in it. A matrix that lies on several ranks is put
    together on all of them; each turns it and keeps what is its own. Of the others, each rank turns
    its own alone.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, lr=0.0, betas=betas, eps=eps, fused=True)
        self._slices: dict[torch.Tensor, tuple[Sequence[ParameterSlice], int]] = {}

    def set_slices(self, flat: torch.Tensor, pieces: Sequence[ParameterSlice], shared: int) -> None:
        """Tell what a flat tensor is made of.

        Args:
            flat: The tensor of a group.
            pieces: What this rank holds in it; perhaps nothing.
            shared: Elements of all parameters of the group that lie on several ranks, the same
                number on every rank.
        """
        self._slices[flat] = pieces, shared

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters once."""
        assert closure is None
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group.get("matrices")]
        super().step()
        self.param_groups = groups
        found_inf = getattr(self, "found_inf", None)
        skip = None if found_inf is None else found_inf != 0
        for group in groups:
            if group.get("matrices"):
                self._step_group(group, skip)

    def _step_group(self, group: dict[str, Any], skip: torch.Tensor | None) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        whole = []
        for p in parameters:
            self._blend(p, group["momentum"], skip)
            if p in self._slices:
                _orthogonalize_slices(p.grad, *self._slices[p], matrices=group["matrices"])
            else:
                assert p.dim() == 2, "a flat tensor, and nobody has told what lies in it"
                whole += p.grad.chunk(group["matrices"], dim=1)
        orthogonalize(whole)
        left = 1 - group["lr"] * group["weight_decay"]
        for p in parameters:
            if skip is None:
                p.mul_(left).add_(p.grad, alpha=-group["lr"])
            else:
                p.copy_(torch.where(skip, p, (p * left).add_(p.grad, alpha=-group["lr"])))

    def _blend(self, p: torch.Tensor, decay: float, skip: torch.Tensor | None) -> None:
        """Take a gradient into the momentum, and make it what is to be turned."""
        assert p.grad is not None
        state = self.state[p]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(p)
        momentum = state["exp_avg"]
        if skip is None:
            momentum.lerp_(p.grad, 1 - decay)
        else:
            momentum.copy_(torch.where(skip, momentum, momentum.lerp(p.grad, 1 - decay)))
        p.grad.lerp_(momentum, decay)  # Nesterov: as if the same gradient came once more


def _orthogonalize_slices(
    flat: torch.Tensor, pieces: Sequence[ParameterSlice], shared: int, *, matrices: int
) -> None:
    """Turn what lies in a flat tensor; all ranks together."""
    together = flat.new_zeros(shared)
    cut = [piece for piece in pieces if piece.shared is not None]
    for piece in cut:
        piece.in_shared(together).copy_(piece.in_flat(flat))
    if shared:
        dist.all_reduce(together)
    whole = [piece.whole(flat, together) for piece in pieces]
    orthogonalize([matrix for parameter in whole for matrix in parameter.chunk(matrices, dim=1)])
    for piece in cut:
        piece.in_flat(flat).copy_(piece.in_shared(together))


def orthogonalize(matrices: Sequence[torch.Tensor]) -> None:
    """Replace matrices by the nearest orthogonal ones, scaled like an update of AdamW.

    An orthogonal matrix has the root mean square 1 / sqrt(its longer side). Those of the same shape
    go through the device together, for one alone would hardly occupy it.

    Args:
        matrices: Of any shapes, views into other tensors or not.
    """
    alike: dict[torch.Size, list[torch.Tensor]] = {}
    for matrix in matrices:
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        alike.setdefault(wide.shape, []).append(wide)
    for shape, found in alike.items():
        most = max(1, AT_ONCE // shape.numel())
        for begin in range(0, len(found), most):
            _orthogonalize_batch(found[begin : begin + most])


def _orthogonalize_batch(matrices: list[torch.Tensor]) -> None:
    """Turn matrices of one shape (A, B), A <= B; what that takes is free again afterwards."""
    scale = LIKE_ADAMW * matrices[0].shape[1] ** 0.5
    turned = approximate_orthogonal(torch.stack(matrices)).float().mul_(scale)
    for matrix, new in zip(matrices, turned, strict=True):
        matrix.copy_(new)


def approximate_orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest matrices with singular values of about 1, between 0.7 and 1.2 for nearly all.

    This is Newton and Schulz's iteration with Jordan's coefficients. He found it to bear bf16, in
    which tensor cores are fastest. Devices without bf16 compute in fp32, and so do CPUs.

    Args:
        matrices: Shape (N, A, B) with A <= B.
    """
    norm = torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=_TINY)
    x = (matrices / norm).to(_precision(matrices.device))
    for _ in range(ROUNDS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=_CUBIC, alpha=_QUINTIC)
        x = torch.baddbmm(x, polynomial, x, beta=_LINEAR)
    return x


def _precision(device: torch.device) -> torch.dtype:
    # Older cards only emulate bf16.
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.float32
