"""Options for choosing the next token."""

from __future__ import annotations

import pytest
from generating import SAMPLED

from gpt2zh.config.errors import UserError
from gpt2zh.generation.sampling import SamplingConfig


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"temperature": -1}, "temperature is -1; it must be 0 (greedy) or more"),
        ({"top_p": 0}, "top_p is 0; it must be above 0 and at most 1"),
        ({"top_k": -1}, "top_k is -1; it must be 0 (all) or more"),
        ({"num_beams": 0}, "num_beams is 0; it must be 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be 1 or more"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0; it must be above 0"),
        ({"no_repeat_ngram_size": -2}, "no_repeat_ngram_size is -2; it must be 0 or more"),
        ({"top_k": -1, "num_beams": 0}, "2 faults"),
    ],
)
def test_invalid_options_are_refused(wrong: dict, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        SamplingConfig(**wrong)
    assert expected in str(caught.value)


def test_the_samples_of_a_prompt_count_up_from_the_seed() -> None:
    assert SAMPLED.for_sample(0) == SAMPLED and SAMPLED.for_sample(2).seed == 9
    free = SamplingConfig(seed=None)
    assert free.for_sample(2) == free
