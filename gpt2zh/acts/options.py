"""Options of the acts of `gpt2zh`. Nothing heavy is imported, so `--help` is fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gpt2zh.config.paths import IS_PATH
from gpt2zh.config.schema import PretrainConfig

NO_OUTPUT = Path("(no --output)")
"""Stands for an output folder that nobody named, and says so where a plan prints it."""


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


@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """Ask a run to save a checkpoint and end."""

    run: Path
    """Folder of the run, on any machine that sees it."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun(PretrainConfig):
    """The config of a run, of which data and output may be missing."""

    data: tuple[str, ...] = field(default=(), metadata={"first": True} | IS_PATH)  # in the help
    """Folders of shards, as for the run, with a weight each if you like: news/:0.5 poetry/:0.2.
    Without data the plan shows the model, the batch and the memory."""
    output: Path = NO_OUTPUT
    """Folder of the run, which is only read; without it the plan is that of a new run."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What a run is planned for. With ranks or gpu, or without data, a table is shown, too."""

    ranks: int | None = None
    """Number of GPUs to plan for, which need not be here; null plans for this start."""
    ranks_per_machine: int = 8
    """Number of GPUs in each machine."""
    gpu: str | None = None
    """Card to plan for, such as "RTX 3090" or A100; null takes the card of this machine, or an RTX
    3090 if there is none that is known."""
    network: float = 100.0
    """Speed of the network between machines in Gbit/s: all network cards of a machine together."""
    vocabulary: int | None = None
    """Number of tokens for a plan without data; null takes that of the run in output, from its
    newest checkpoint, or that of the builtin tokenizer if there is none."""
