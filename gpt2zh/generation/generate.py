"""Continue token ids with a causal language model, one prompt or many at once.

The prompts are one batch with the padding on the left. A row behaves as if it were alone: it has
its own room in the context, its own seed and its own end.

B prompts, T tokens of the longest one, N new tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.generation.choosing import make_processors
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.stepping import (
    Stepping,
    TokenStream,
    make_criteria,
    positions_in_context,
)
from gpt2zh.pages.numbers import plural


@dataclass(frozen=True)
class Continuation:
    """The new tokens after one prompt."""

    ids: list[int]
    """Without the stop id that ended them."""
    stop_id: int | None
    """The stop id; None if `max_new_tokens`, the context or `should_stop` ended the row."""


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    *,
    stop_ids: Sequence[int] = (),
    seeds: Sequence[int | None] | None = None,
    stepping: Stepping | None = None,
) -> list[Continuation]:
    """Continue every prompt until it reaches a stop id, `max_new_tokens` or the context's end.

    Greedy rows, and sampled rows with a seed, have the tokens that the prompt alone would have, as
    far as the arithmetic of another batch size does not change the logits. Beams that sample
    (temperature above 0) share one generator; their batch is reproducible, but only as a whole.

    Args:
        model: In evaluation mode, with an attention that supports padding and a cache.
        prompts: Token ids, at least one each. They may differ in length.
        sampling: Options for choosing the next token.
        stop_ids: Ids that end a row, in addition to the eos of the model's generation config.
        seeds: One per prompt; None draws a new one. Without `seeds` all have `sampling.seed`.
        stepping: Callbacks and synchronization.

    Returns:
        One continuation per prompt, in the order of the prompts.

    Raises:
        UserError: A prompt fills the context, or tokens of beams are to be streamed.
    """
    if not prompts:
        return []
    assert all(len(prompt) for prompt in prompts), "a prompt without tokens"
    stepping = stepping or Stepping()
    seeds = [sampling.seed] * len(prompts) if seeds is None else seeds
    limits = _limits(model, prompts, sampling.max_new_tokens)
    stops = _stop_ids(model, stop_ids)
    longest = max(map(len, prompts))
    settings = _settings(model, stops) | {
        "max_new_tokens": max(limits),
        "num_beams": sampling.num_beams,
        "early_stopping": sampling.num_beams > 1,
        "synced_gpus": stepping.synced,
        "stopping_criteria": make_criteria(longest, limits, stepping, model.device),
    }
    if stepping.on_tokens is not None:
        _refuse_beams(sampling)
        settings["streamer"] = TokenStream(limits, stops, stepping.on_tokens)
    inputs, mask = _pad_left(prompts, longest, settings["pad_token_id"], model.device)
    with _seeded(sampling, seeds, model.device) as generators, positions_in_context(model, limits):
        settings |= _choice(sampling, generators)
        settings["logits_processor"] = make_processors(
            sampling,
            padding=[longest - len(prompt) for prompt in prompts],
            generators=generators,
            spared=_spared(model),
        )
        written: Any = model.generate(inputs, attention_mask=mask, **settings)  # (B, T + N)
    new = written[:, longest:].tolist()
    return [_until_stop(ids[:limit], stops) for ids, limit in zip(new, limits, strict=True)]


def _refuse_beams(sampling: SamplingConfig) -> None:
    if sampling.num_beams > 1:
        raise UserError(
            f"num_beams is {sampling.num_beams}, but the tokens of beams are only known at the "
            "end; use stream false or num_beams 1"
        )


def _limits(model: PreTrainedModel, prompts: Sequence[Sequence[int]], most: int) -> list[int]:
    """Return how many tokens each prompt may get: `most`, or what its context has left."""
    context = model.config.max_position_embeddings
    faults = [
        f"{'the prompt' if len(prompts) == 1 else f'prompt {number}'} has "
        f"{plural(len(prompt), 'token')}, "
        f"but the model's context of {context} must hold the continuation too; shorten the prompt"
        for number, prompt in enumerate(prompts, start=1)
        if len(prompt) >= context
    ]
    raise_all(faults, "the prompts")
    return [min(most, context - len(prompt)) for prompt in prompts]


def _stop_ids(model: PreTrainedModel, extra: Sequence[int]) -> list[int]:
    eos = model.generation_config.eos_token_id
    own = [] if eos is None else eos if isinstance(eos, list) else [eos]
    return list(dict.fromkeys([*own, *extra]))


def _settings(model: PreTrainedModel, stops: list[int]) -> dict[str, Any]:
    """Return the ids to stop at and to pad with; the mask hides the padding, whatever it is."""
    pad = model.generation_config.pad_token_id
    return {
        "eos_token_id": stops or None,
        "pad_token_id": pad if pad is not None else stops[0] if stops else 0,
    }


def _choice(sampling: SamplingConfig, generators: list[torch.Generator]) -> dict[str, Any]:
    """Return transformers' own sampling options; off if our processors draw the tokens."""
    if sampling.temperature > 0 and not generators:
        return {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        }
    # transformers' defaults: a folder's own values would cause warnings
    return {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0}


def _spared(model: PreTrainedModel) -> int:
    """Return 1 if a token starts every document: the repetition penalty must not count it.

    It is eos for most models: as a repetition it would become ever less likely to be written, and
    texts would not end.
    """
    return int(getattr(model.config, "document_start_token_id", None) is not None)


def _pad_left(
    prompts: Sequence[Sequence[int]], longest: int, pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the padded ids and the attention mask, (B, T) both."""
    padding = [longest - len(prompt) for prompt in prompts]
    rows = zip(padding, prompts, strict=True)
    ids = torch.tensor([[pad_id] * count + list(prompt) for count, prompt in rows], device=device)
    places = torch.arange(longest, device=device)
    return ids, (places >= torch.tensor(padding, device=device)[:, None]).long()


def _until_stop(ids: list[int], stops: list[int]) -> Continuation:
    for place, token in enumerate(ids):
        if token in stops:
            return Continuation(ids[:place], token)
    return Continuation(ids, None)


@contextlib.contextmanager
def _seeded(
    sampling: SamplingConfig, seeds: Sequence[int | None], device: torch.device
) -> Iterator[list[torch.Generator]]:
    """Yield a seeded generator per prompt; none for greedy, nor for beams that sample.

    transformers draws those from torch's own generator, which is set here and restored.
    """
    if sampling.temperature > 0 and sampling.num_beams == 1:
        yield [_new_generator(seed, device) for seed in seeds]
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seeds[0] is None:
            torch.seed()
        else:
            torch.manual_seed(seeds[0])
        yield []


def _new_generator(seed: int | None, device: torch.device) -> torch.Generator:
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator
