"""How the next token is chosen, as transformers' `generate` wants to be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt2zh.config.errors import raise_all


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next token is chosen."""

    max_new_tokens: int = 200
    """Longest continuation in tokens; it ends earlier where the model's context ends."""
    temperature: float = 0.9
    """Below 1 safer, above 1 wilder; 0 always takes the most likely token (greedy)."""
    top_k: int = 50
    """Only the most likely tokens, in number, may be chosen; 0 allows all."""
    top_p: float = 0.95
    """Only the likeliest tokens that together have this probability may be chosen; 1 allows all."""
    beams: int = 1
    """Continuations followed at once, the likeliest is kept; above 1 greedy needs temperature 0."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were already written less likely; 1.1 to 1.3 is usual."""
    no_repeat_ngram: int = 0
    """Never write the same tokens of this length twice; 0 allows it."""
    seed: int | None = None
    """Seed of the first sample, the next ones count up; null takes a new one each time."""

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        faults = [
            f"{name} is {value}; it is {rule}"
            for name, value, rule, wrong in (
                ("max_new_tokens", self.max_new_tokens, "1 or more", self.max_new_tokens < 1),
                ("temperature", self.temperature, "0 (greedy) or more", self.temperature < 0),
                ("top_k", self.top_k, "0 (all) or more", self.top_k < 0),
                ("top_p", self.top_p, "above 0, at most 1", not 0 < self.top_p <= 1),
                ("beams", self.beams, "1 or more", self.beams < 1),
                (
                    "repetition_penalty",
                    self.repetition_penalty,
                    "above 0",
                    self.repetition_penalty <= 0,
                ),
                ("no_repeat_ngram", self.no_repeat_ngram, "0 or more", self.no_repeat_ngram < 0),
            )
            if wrong
        ]
        raise_all(faults, "the sampling")

    def arguments(self, *, room: int) -> dict[str, Any]:
        """Keyword arguments of `generate`.

        Args:
            room: Tokens that the context has left.
        """
        chosen: dict[str, Any] = {
            "max_new_tokens": min(self.max_new_tokens, room),
            "num_beams": self.beams,
            "no_repeat_ngram_size": self.no_repeat_ngram,
            "do_sample": self.temperature > 0,
            "early_stopping": self.beams > 1,
        }
        if self.temperature > 0:
            chosen |= {
                "temperature": self.temperature,
                "top_k": self.top_k,
                "top_p": self.top_p,
            }
        return chosen
