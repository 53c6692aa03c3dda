"""Options for choosing the next token."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gpt2zh.config.errors import raise_all


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next token is chosen."""

    max_new_tokens: int = 200
    """Maximum length of a continuation in tokens; it ends earlier at the end of the context."""
    temperature: float = 0.9
    """Below 1 safer, above 1 wilder; 0 always takes the most likely token (greedy)."""
    top_k: int = 50
    """Sample from this many of the most likely tokens only; 0 allows all."""
    top_p: float = 0.95
    """Sample from the most likely tokens that together have this probability; 1 allows all."""
    num_beams: int = 1
    """Continuations searched at once (beam search); 1 is off, more are best with temperature 0."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that already occur less likely; 1.1 to 1.3 is usual."""
    no_repeat_ngram_size: int = 0
    """Never write the same sequence of this many tokens twice; 0 allows it."""
    seed: int | None = None
    """Seed of the first sample, the next samples count up; null takes a new one each time."""

    def __post_init__(self) -> None:
        """Refuse invalid values, all at once."""
        rules = (
            ("max_new_tokens", "1 or more", self.max_new_tokens >= 1),
            ("temperature", "0 (greedy) or more", self.temperature >= 0),
            ("top_k", "0 (all) or more", self.top_k >= 0),
            ("top_p", "above 0 and at most 1", 0 < self.top_p <= 1),
            ("num_beams", "1 or more", self.num_beams >= 1),
            ("repetition_penalty", "above 0", self.repetition_penalty > 0),
            ("no_repeat_ngram_size", "0 or more", self.no_repeat_ngram_size >= 0),
        )
        faults = [
            f"{name} is {getattr(self, name)}; it must be {rule}"
            for name, rule, holds in rules
            if not holds
        ]
        raise_all(faults, "the sampling options")

    def for_sample(self, number: int) -> SamplingConfig:
        """Return the options of one of several samples of a prompt, counted from 0."""
        if self.seed is None:
            return self
        return dataclasses.replace(self, seed=self.seed + number)
