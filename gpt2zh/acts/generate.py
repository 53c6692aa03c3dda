"""`gpt2zh generate`: continue prompts with a trained model."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

from gpt2zh.acts.generate_options import GenerateConfig
from gpt2zh.config.errors import UserError
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.writer import Writer, numbered


def run(config: GenerateConfig, sampling: SamplingConfig) -> int:
    """Print the continuation of every prompt."""
    prompts = list(_prompts(config))
    if config.samples < 1:
        raise UserError(f"--samples is {config.samples}; it must be 1 or more")
    if not prompts:
        raise UserError(f"--prompt-file {config.prompt_file} holds no prompt")
    writer = Writer.load(config.model, device=_device(config.device))
    stream = config.stream and sampling.beams == 1
    many = len(prompts) * config.samples > 1
    for prompt in prompts:
        for number in range(config.samples):
            if many:
                print(f"--- {prompt or '(no prompt)'} [{number + 1}/{config.samples}]")
            chosen = numbered(sampling, number)
            print(prompt, end="", flush=True)
            if stream:
                writer.write(prompt, chosen, emit=_show)
                print()
            else:
                print(writer.write(prompt, chosen))
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
        raise UserError("--device cuda but no GPU is there; use --device cpu")
    return torch.device(name)


def _show(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()
