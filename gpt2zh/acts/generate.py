"""`gpt2zh generate`: continue prompts with a trained model."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

from gpt2zh.acts.options import GenerateConfig
from gpt2zh.config.errors import UserError
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.text import TextGenerator

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def run(config: GenerateConfig, sampling: SamplingConfig) -> int:
    """Print the continuation of every prompt."""
    prompts = list(_prompts(config))
    if config.samples < 1:
        raise UserError(f"--samples is {config.samples}; it must be 1 or more")
    if not prompts:
        raise UserError(f"--prompt-file {config.prompt_file} is empty; write one prompt per line")
    device = _device(config.device)
    generator = TextGenerator.load(config.model, device=device, dtype=_dtype(config.dtype, device))
    stream = config.stream and sampling.num_beams == 1
    many = len(prompts) * config.samples > 1
    for prompt in prompts:
        for number in range(config.samples):
            if many:
                print(f"--- {prompt or '(no prompt)'} [{number + 1}/{config.samples}]")
            print(prompt, end="", flush=True)
            chosen = sampling.for_sample(number)
            if stream:
                generator.write(prompt, chosen, emit=_show)
                print()
            else:
                print(generator.write(prompt, chosen))
    return 0


def _prompts(config: GenerateConfig) -> Iterator[str]:
    yield from config.prompt
    if config.prompt_file is not None:
        try:
            lines = config.prompt_file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--prompt-file {config.prompt_file}: {error}") from error
        yield from (line for line in lines if line.strip())
    elif not config.prompt:
        yield ""


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda, but torch finds no GPU; use --device cpu")
    return torch.device(name)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def _show(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()
