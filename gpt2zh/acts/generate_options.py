"""Options of `gpt2zh generate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Continue prompts with a trained model."""

    model: Path
    """Folder of the model: any checkpoint of a run, or any other Hugging Face GPT-2 folder."""
    prompt: tuple[str, ...] = ()
    """Texts to continue; without any, the model begins by itself."""
    prompt_file: Path | None = None
    """UTF-8 file with one prompt per line; empty lines are skipped."""
    samples: int = 1
    """Number of continuations per prompt."""
    stream: bool = True
    """Print text as soon as it is generated; with beams it is printed at the end in any case."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto uses a GPU if there is one."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Type of the weights; auto is bf16 on a GPU that computes in it, else fp32."""
