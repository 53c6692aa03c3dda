"""Options of `gpt2zh generate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Continue prompts with a trained model."""

    model: Path
    """Folder of the model: any checkpoint of a run, or another Hugging Face GPT-2 folder."""
    prompt: tuple[str, ...] = ()
    """Texts to continue; none lets the model begin by itself."""
    prompt_file: Path | None = None
    """UTF-8 file with one prompt per line, empty lines are left out."""
    samples: int = 1
    """Continuations per prompt, in number."""
    stream: bool = True
    """Print each piece as soon as it is written; beams print at the end in any case."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU if there is one."""
