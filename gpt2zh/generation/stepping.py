"""What happens around each step of `generate`: who is told, when a row ends, where it stands.

B prompts, T tokens of the longest one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.generation.stopping_criteria import StoppingCriteria
from transformers.generation.streamers import BaseStreamer


@dataclass(frozen=True, kw_only=True)
class Stepping:
    """What happens around each step of `generate`, which writes one token per unfinished row."""

    on_tokens: Callable[[int, list[int]], None] | None = None
    """Called with the number of a row and its new tokens, never with stop ids; not with beams."""
    should_stop: Callable[[], bool] | None = None
    """Called after each step; if it returns true, all rows end there."""
    synced: bool = False
    """Keep stepping until all ranks have finished; ZeRO 3 needs this on more than one rank."""


class TokenStream(BaseStreamer):
    """Hands on each new token of the rows that have not ended."""

    def __init__(
        self, limits: list[int], stops: list[int], on_tokens: Callable[[int, list[int]], None]
    ) -> None:
        """Take the new tokens that each row may get, the ids that end it, and whom to call."""
        self._left = list(limits)  # tokens that each row may still get
        self._stops = stops
        self._on_tokens = on_tokens
        self._has_prompt = False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts at first, then one token of each row."""
        if not self._has_prompt:
            self._has_prompt = True
            return
        for row, token in enumerate(value.flatten().tolist()):
            if not self._left[row]:
                continue
            if token in self._stops:
                self._left[row] = 0
            else:
                self._left[row] -= 1
                self._on_tokens(row, [token])

    def end(self) -> None:
        """Do nothing: every token was handed on when it came."""


def make_criteria(
    longest: int, limits: list[int], stepping: Stepping, device: torch.device
) -> list[StoppingCriteria]:
    """Return what ends rows apart from stop ids and the largest limit.

    Args:
        longest: Tokens of the longest prompt.
        limits: New tokens that each row may get.
        stepping: The caller's wish to stop.
        device: Where the model is.
    """
    found: list[StoppingCriteria] = []
    if len(set(limits)) > 1:  # else max_new_tokens says it
        found.append(_RowLimits(torch.tensor(limits, device=device) + longest))
    if stepping.should_stop is not None:
        found.append(_Asked(stepping.should_stop))
    return found


class _RowLimits(StoppingCriteria):
    """Ends each row at its own length."""

    def __init__(self, ends: torch.Tensor) -> None:
        self._ends = ends  # (B,): length with prompt and padding

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows, or candidates of beams, have ended."""
        ended = input_ids.shape[1] >= self._ends
        return ended.repeat_interleave(len(input_ids) // len(ended))


class _Asked(StoppingCriteria):
    """Ends all rows when the caller wants to stop."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return the same answer for all rows."""
        return torch.full((len(input_ids),), self._should_stop(), device=input_ids.device)


@contextlib.contextmanager
def positions_in_context(model: PreTrainedModel, limits: list[int]) -> Iterator[None]:
    """Keep the positions of finished rows inside the context while longer ones go on.

    transformers counts on behind the end of a row, and a position without an embedding is an error.
    """
    if len(set(limits)) == 1:
        yield
        return
    last = model.config.max_position_embeddings - 1

    def clamp(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"position_ids": kwargs["position_ids"].clamp(max=last)}

    hook = model.register_forward_pre_hook(clamp, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
