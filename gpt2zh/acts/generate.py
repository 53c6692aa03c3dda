"""`gpt2zh generate`: continue prompts with a trained model."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from gpt2zh.acts.options import GenerateConfig
from gpt2zh.config.errors import UserError
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.text import TextGenerator

_LINE_END = re.compile(r"\r\n|\n|\r")
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
        yield from (line for line in _read_lines(config.prompt_file) if line.strip())
    elif not config.prompt:
        yield ""


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a prompt file, without a byte order mark.

    Lines end where editors end them. `str.splitlines` would also end them at form feeds and at
    U+2028, which may stand in a prompt.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--prompt-file {path}: {error.strerror}; give a text file") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"--prompt-file {path} is not UTF-8 (byte 0x{error.object[error.start]:02X} at byte "
            f"{error.start}); convert it, for example with `iconv -f gb18030 -t utf-8`"
        ) from error
    return _LINE_END.split(text)


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
