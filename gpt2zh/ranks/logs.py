"""Console output: our lines once for all ranks, and no output of the libraries but errors."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from gpt2zh.ranks.world import World

_LOUD = ("DeepSpeed", "transformers", "torch", "datasets", "accelerate")


def quiet_libraries() -> None:
    """Limit the libraries' logs to errors; call it before they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for category in (FutureWarning, UserWarning, DeprecationWarning):
        warnings.filterwarnings(
            "ignore", category=category, module=r"(torch|deepspeed|transformers)"
        )
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)


def say(world: World, text: str) -> None:
    """Print a line once for all ranks."""
    if world.is_main:
        print(text, flush=True)


def warn(world: World, text: str) -> None:
    """Print a warning once for all ranks."""
    if world.is_main:
        print(f"warning: {text}", file=sys.stderr, flush=True)
