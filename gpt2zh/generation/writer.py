"""Continue a text with a model, piece by piece or at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.generation.logits_process import (
    LogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)
from transformers.generation.stopping_criteria import StoppingCriteria
from transformers.generation.streamers import BaseStreamer
from transformers.utils.logging import disable_progress_bar

from gpt2zh.config.errors import UserError
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are missing


class Writer:
    """A model and its tokenizer, which together continue texts."""

    def __init__(self, model: PreTrainedModel, tokenizer: TextTokenizer) -> None:
        """Take a causal language model; its config may name a `document_start_token_id`."""
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, *, device: torch.device) -> Writer:
        """Load a Hugging Face folder, such as any checkpoint.

        Raises:
            UserError: The folder holds no model.
        """
        if not (folder / "config.json").is_file():
            near = sorted(path.name for path in folder.glob("checkpoint-*"))
            cure = f"it holds {', '.join(near)}: name one of them" if near else "is the path right?"
            raise UserError(f"--model {folder} has no config.json; {cure}")
        disable_progress_bar()  # loading takes a second
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"--model {folder} cannot be loaded (it needs model.safetensors and a config.json "
                f"of a language model): {error}"
            ) from error
        return cls(model.to(device).eval(), load_tokenizer(str(folder)))

    def write(
        self,
        prompt: str,
        sampling: SamplingConfig,
        *,
        emit: Callable[[str], None] | None = None,
        synced: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> str:
        """Continue `prompt` as the beginning of a document, until the model ends it.

        Args:
            prompt: May be empty: the model then begins by itself.
            sampling: How tokens are chosen.
            emit: Called with each new piece of text as soon as it is final; not with beams.
            synced: Keep all ranks stepping together, which ZeRO 3 needs.
            stop: Asked after each token whether to end the text there.

        Returns:
            The continuation without the prompt.

        Raises:
            UserError: The prompt fills the context, or beams shall stream.
        """
        ids = self._prompt_ids(prompt)
        if emit is not None and sampling.beams > 1:
            raise UserError("beams are only known at the end; use stream false or beams 1")
        stream = _Stream(self.tokenizer, ids, emit) if emit else None
        inputs = torch.tensor([ids], device=self.model.device)  # (1, T)
        if sampling.seed is None:
            torch.seed()
        else:
            torch.manual_seed(sampling.seed)
        written: Any = self.model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            streamer=stream,
            synced_gpus=synced,
            logits_processor=self._penalty(sampling),
            stopping_criteria=[_Stop(stop)] if stop else [],
            **sampling.arguments(room=self.model.config.max_position_embeddings - len(ids)),
        )
        return _continuation(self.tokenizer, ids, written[0, len(ids) :].tolist())

    def _penalty(self, sampling: SamplingConfig) -> list[LogitsProcessor]:
        """The repetition penalty, which spares the token that starts a document.

        It is eos for most models: as a repetition it would become ever less likely to be written,
        and texts would not end.
        """
        if sampling.repetition_penalty == 1.0:
            return []
        starts = getattr(self.model.config, "document_start_token_id", None) is not None
        return [
            RepetitionPenaltyLogitsProcessor(
                sampling.repetition_penalty, prompt_ignore_length=int(starts)
            )
        ]

    def _prompt_ids(self, prompt: str) -> list[int]:
        start = getattr(self.model.config, "document_start_token_id", None)
        ids = ([] if start is None else [start]) + self.tokenizer.encode_batch([prompt])[0]
        if not ids:
            ids = [self.tokenizer.bos_id]
        context = self.model.config.max_position_embeddings
        if len(ids) >= context:
            raise UserError(
                f"the prompt has {len(ids)} tokens, but the model's context of {context} must hold "
                "the continuation too; shorten the prompt"
            )
        return ids

    def samples(
        self,
        prompts: tuple[str, ...],
        *,
        tokens: int,
        synced: bool,
        stop: Callable[[], bool] | None = None,
    ) -> list[str]:
        """Continue fixed prompts the same way every time; random numbers stay as they were."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        sampling = SamplingConfig(max_new_tokens=tokens, temperature=0.8, top_k=40, seed=1)
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            return [self.write(prompt, sampling, synced=synced, stop=stop) for prompt in prompts]


def numbered(sampling: SamplingConfig, sample: int) -> SamplingConfig:
    """The sampling of the sample with this number, from 0."""
    if sampling.seed is None:
        return sampling
    return dataclasses.replace(sampling, seed=sampling.seed + sample)


class _Stop(StoppingCriteria):
    """Ends a text when somebody asks for it."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._asked(), device=input_ids.device)


class _Stream(BaseStreamer):
    """Hands each piece of text on as soon as later tokens cannot change it."""

    def __init__(
        self, tokenizer: TextTokenizer, prompt: list[int], emit: Callable[[str], None]
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._emit = emit
        self._new: list[int] | None = None  # None until generate has sent the prompt
        self._sent = ""

    def put(self, value: torch.Tensor) -> None:
        if self._new is None:
            self._new = []
            return
        self._new += value.flatten().tolist()
        settled = self._new[: self._tokenizer.settled(self._new)]
        text = _continuation(self._tokenizer, self._prompt, settled)
        if text.startswith(self._sent) and not text.endswith(_UNFINISHED):
            self._emit(text[len(self._sent) :])
            self._sent = text

    def end(self) -> None:
        text = _continuation(self._tokenizer, self._prompt, self._new or [])
        self._emit(text[len(self._sent) :])


def _continuation(tokenizer: TextTokenizer, prompt: list[int], new: list[int]) -> str:
    """The text of `new` after `prompt`, with a space between two Latin words at the border."""
    before = tokenizer.decode(prompt)
    return tokenizer.decode(prompt + new)[len(before) :]
