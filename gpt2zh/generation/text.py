"""Continue texts with a model and its tokenizer, streamed piece by piece or at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from gpt2zh.generation.generate import Continuation, generate
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.stepping import Stepping
from gpt2zh.model.load import load_pretrained
from gpt2zh.text.tokenizer import TextTokenizer

_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are missing
_SAMPLES = SamplingConfig(temperature=0.8, top_k=40, seed=1)


class TextGenerator:
    """A model and its tokenizer, which together continue texts."""

    def __init__(self, model: PreTrainedModel, tokenizer: TextTokenizer) -> None:
        """Take a causal language model; its config may name a `document_start_token_id`."""
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> TextGenerator:
        """Load a Hugging Face GPT-2 folder, such as any checkpoint.

        Raises:
            UserError: The folder does not hold a usable model and tokenizer.
        """
        return cls(*load_pretrained(folder, device=device, dtype=dtype))

    def write(
        self,
        prompt: str,
        sampling: SamplingConfig,
        *,
        emit: Callable[[str], None] | None = None,
        stepping: Stepping | None = None,
    ) -> str:
        """Continue one prompt; see `write_batch`."""
        emit_row = None if emit is None else lambda _, piece: emit(piece)
        return self.write_batch([prompt], sampling, emit=emit_row, stepping=stepping)[0]

    def write_batch(
        self,
        prompts: Sequence[str],
        sampling: SamplingConfig,
        *,
        seeds: Sequence[int | None] | None = None,
        emit: Callable[[int, str], None] | None = None,
        stepping: Stepping | None = None,
    ) -> list[str]:
        """Continue each prompt as the beginning of a document, until the model ends it.

        Args:
            prompts: An empty prompt lets the model begin by itself.
            sampling: Options for choosing the next token.
            seeds: One per prompt; see `generate`.
            emit: Called with the number of a prompt and each new piece of its text as soon as the
                piece is final; not with beams.
            stepping: When to stop, and how ranks step together; its `on_tokens` is not used.

        Returns:
            The continuations without the prompts.

        Raises:
            UserError: A prompt fills the context, or beams are to be streamed.
        """
        ids = [self.encode_prompt(prompt) for prompt in prompts]
        stepping = stepping or Stepping()
        streams = [] if emit is None else self._streams(ids, emit)
        on_tokens = (lambda row, new: streams[row].put(new)) if streams else None
        found = generate(
            self.model,
            ids,
            sampling,
            seeds=seeds,
            stepping=dataclasses.replace(stepping, on_tokens=on_tokens),
        )
        for stream in streams:
            stream.end()
        return [self.decode(prompt, new) for prompt, new in zip(ids, found, strict=True)]

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the ids of a text as the beginning of a document; never empty."""
        start = getattr(self.model.config, "document_start_token_id", None)
        ids = ([] if start is None else [start]) + self.tokenizer.encode_batch([prompt])[0]
        return ids or [self._first_id()]

    def _first_id(self) -> int:
        """Return what an empty text begins with: the model's bos, as in transformers.

        The tokenizer's own bos may be a token that the model never saw: it is a new one where bos
        and eos of the folder are one token, as in GPT-2. Models with another vocabulary often keep
        GPT-2's 50256 in their config, so the id must be one of the tokenizer.
        """
        bos = self.model.config.bos_token_id
        is_known = isinstance(bos, int) and bos < self.tokenizer.vocab_size
        return bos if is_known else self.tokenizer.bos_id

    def decode(self, prompt: Sequence[int], continuation: Continuation) -> str:
        """Return the text that a continuation adds to its prompt."""
        return decode_after(self.tokenizer, prompt, continuation.ids)

    def write_samples(
        self, prompts: Sequence[str], *, tokens: int, stepping: Stepping | None = None
    ) -> list[str]:
        """Continue fixed prompts the same way every time.

        One by one: the logits of a batch differ by rounding, and a sample must depend on nothing
        but its prompt and the weights.

        Args:
            prompts: Texts to continue.
            tokens: Maximum length of each continuation.
            stepping: When to stop, and how ranks step together.
        """
        sampling = dataclasses.replace(_SAMPLES, max_new_tokens=tokens)
        return [self.write(prompt, sampling, stepping=stepping) for prompt in prompts]

    def _streams(self, ids: list[list[int]], emit: Callable[[int, str], None]) -> list[TextStream]:
        def of_row(row: int) -> Callable[[str], None]:
            return lambda piece: emit(row, piece)

        return [TextStream(self.tokenizer, prompt, of_row(n)) for n, prompt in enumerate(ids)]


class TextStream:
    """Turns the new tokens of one row into text, as soon as later tokens cannot change it."""

    def __init__(
        self, tokenizer: TextTokenizer, prompt: Sequence[int], emit: Callable[[str], None]
    ) -> None:
        """Take the ids of the prompt, and what to call with each piece of text."""
        self._tokenizer = tokenizer
        self._prompt = list(prompt)
        self._emit = emit
        self._new: list[int] = []
        self._sent = ""

    def put(self, ids: Sequence[int]) -> None:
        """Take new tokens."""
        self._new += ids
        settled = self._new[: self._tokenizer.settled(self._new)]
        text = decode_after(self._tokenizer, self._prompt, settled)
        if text.startswith(self._sent) and not text.endswith(_UNFINISHED):
            self._emit(text[len(self._sent) :])
            self._sent = text

    def end(self) -> None:
        """Hand on what is left, whether its bytes make characters or not."""
        text = decode_after(self._tokenizer, self._prompt, self._new)
        self._emit(text[len(self._sent) :])


def decode_after(tokenizer: TextTokenizer, prompt: Sequence[int], new: Sequence[int]) -> str:
    """Return the text of `new`, with a space if a Latin word follows one of the prompt."""
    before = tokenizer.decode(prompt)
    return tokenizer.decode([*prompt, *new])[len(before) :]
