"""Muon for the hidden matrices of a GPT-2 and AdamW for all other parameters, as one optimizer.

Muon (Keller Jordan, kellerjordan.github.io/posts/muon) orthogonalizes the momentum of a matrix: it
replaces it by the nearest matrix whose singular values are all about 1, so that rare directions
move as far as common ones. It is meant for matrices between hidden layers. The embedding (which is
also the output head), the positions, biases and norms use AdamW, as in Jordan's code.

An update of Muon is scaled to the root mean square of an update of AdamW (Moonlight, arXiv
2502.16982, section 2.2). So one learning rate and one weight decay serve both, and the values that
suit AdamW are a good start.

transformers stores the matrices of a GPT-2 as (in, out), the transpose of nn.Linear. This changes
nothing: the nearest orthogonal matrix of a transpose is the transpose, and the scale is the same
for both. But `c_attn` holds three matrices side by side. Together they would share the singular
values; separately they train better (Jordan, "Empirical considerations").

DeepSpeed's own Muon is not used: it takes the embeddings for hidden matrices, scales for (out, in),
and at stages 1 and 2 it clips after orthogonalizing.
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
"""Root mean square of an AdamW update at learning rate 1, as measured by Moonlight."""
# A polynomial that moves all singular values in (0, 1] close to 1 in five iterations (Jordan).
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_TINY = 1e-7


@dataclass(frozen=True)
class ParameterSlice:
    """The part of a parameter that this rank holds, in the flat tensor of a ZeRO partition."""

    shape: torch.Size
    """Shape of the whole parameter."""
    start: int
    """First element of the slice in the flat tensor."""
    first: int
    """The same element in the parameter."""
    count: int
    """Elements of the slice."""
    shared: int | None
    """First element of the parameter in the buffer of parameters that are split over ranks; None
    if this rank holds the whole parameter."""

    def in_flat(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the slice, as a view of the flat tensor."""
        return flat.narrow(0, self.start, self.count)

    def in_shared(self, shared: torch.Tensor) -> torch.Tensor:
        """Return the slice, as a view of the buffer of split parameters."""
        assert self.shared is not None
        return shared.narrow(0, self.shared + self.first, self.count)

    def whole(self, flat: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Return the whole parameter, as a view of the tensor that holds all of it."""
        if self.shared is None:
            return self.in_flat(flat).view(self.shape)
        return shared.narrow(0, self.shared, self.shape.numel()).view(self.shape)


class Muon(AdamW):
    """AdamW in which Muon updates the groups that have a key `matrices`.

    Such a group holds the number of matrices side by side in each of its parameters (`matrices`),
    `momentum` and `weight_decay`. The state of a parameter is its momentum, as `exp_avg`. A step
    overwrites the gradients of these groups and never waits for the device. Like fused AdamW, it
    changes nothing if the device tensor `found_inf` is not 0.

    At ZeRO stage 0 the parameters are whole. At stages 1 and 2 a group has one flat tensor, which
    begins and ends at any element; `set_slices` describes its content. Only matrices that are split
    over ranks travel: they are put together on every rank, and each rank that holds a part
    orthogonalizes them and keeps its part. Whole matrices are orthogonalized by their rank alone.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, lr=0.0, betas=betas, eps=eps, fused=True)
        self._slices: dict[torch.Tensor, tuple[Sequence[ParameterSlice], int]] = {}

    def set_slices(self, flat: torch.Tensor, slices: Sequence[ParameterSlice], shared: int) -> None:
        """Set the parameters that a flat tensor consists of.

        Args:
            flat: The tensor of a group.
            slices: The parts of parameters in it; may be empty.
            shared: Elements of all parameters of the group that are split over ranks; the same
                number on every rank.
        """
        self._slices[flat] = slices, shared

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
            self._update_momentum(p, group["momentum"], skip)
            if p in self._slices:
                _orthogonalize_slices(p.grad, *self._slices[p], matrices=group["matrices"])
            else:
                assert p.dim() == 2, "a flat tensor without set_slices"
                whole += p.grad.chunk(group["matrices"], dim=1)
        orthogonalize(whole)
        left = 1 - group["lr"] * group["weight_decay"]
        for p in parameters:
            if skip is None:
                p.mul_(left).add_(p.grad, alpha=-group["lr"])
            else:
                p.copy_(torch.where(skip, p, (p * left).add_(p.grad, alpha=-group["lr"])))

    def _update_momentum(self, p: torch.Tensor, decay: float, skip: torch.Tensor | None) -> None:
        """Add the gradient to the momentum, and replace it by what is to be orthogonalized."""
        assert p.grad is not None
        state = self.state[p]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(p)
        momentum = state["exp_avg"]
        if skip is None:
            momentum.lerp_(p.grad, 1 - decay)
        else:
            momentum.copy_(torch.where(skip, momentum, momentum.lerp(p.grad, 1 - decay)))
        p.grad.lerp_(momentum, decay)  # Nesterov: as if the same gradient came again


def _orthogonalize_slices(
    flat: torch.Tensor, slices: Sequence[ParameterSlice], shared: int, *, matrices: int
) -> None:
    """Orthogonalize the matrices in a flat tensor; all ranks call it."""
    together = flat.new_zeros(shared)
    split = [part for part in slices if part.shared is not None]
    for part in split:
        part.in_shared(together).copy_(part.in_flat(flat))
    if shared:
        dist.all_reduce(together)
    whole = [part.whole(flat, together) for part in slices]
    orthogonalize([matrix for parameter in whole for matrix in parameter.chunk(matrices, dim=1)])
    for part in split:
        part.in_flat(flat).copy_(part.in_shared(together))


def orthogonalize(matrices: Sequence[torch.Tensor]) -> None:
    """Replace matrices in place by the nearest orthogonal ones, scaled like an update of AdamW.

    An orthogonal matrix has the root mean square 1 / sqrt(its longer side). Matrices of the same
    shape are computed together, because a single one would hardly occupy the device.

    Args:
        matrices: Of any shapes (A, B); may be views.
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
    """Orthogonalize matrices of one shape (A, B), A <= B; its memory is free again afterwards."""
    scale = LIKE_ADAMW * matrices[0].shape[1] ** 0.5
    results = approximate_orthogonal(torch.stack(matrices)).float().mul_(scale)
    for matrix, new in zip(matrices, results, strict=True):
        matrix.copy_(new)


def approximate_orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return the nearest matrices whose singular values are about 1 (most in 0.7 to 1.2).

    This is the Newton-Schulz iteration with Jordan's coefficients. He found that bf16, in which
    tensor cores are fastest, is precise enough. CPUs and devices without bf16 compute in fp32.

    Args:
        matrices: Shape (N, A, B) with A <= B.

    Returns:
        Shape (N, A, B), bf16 or fp32.
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
