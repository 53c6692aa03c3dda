"""The console command `gpt2zh`: everything that neither trains nor prepares data."""

from __future__ import annotations

import sys

from gpt2zh.config.cli import Verb, run_verbs
from gpt2zh.dist.logs import quiet_libraries
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.recipes.generate_config import GenerateConfig

VERBS = (
    Verb(
        name="generate",
        config=(GenerateConfig, SamplingConfig),
        run="gpt2zh.recipes.generate:run",
        summary="continue prompts with a trained model",
        positional="model",
    ),
)


def main() -> int:
    """Run the verb that the command line names and return the exit code."""
    quiet_libraries()
    return run_verbs(
        prog="gpt2zh",
        description="Chinese GPT-2: use what `launcher/pretrain.py` has trained.",
        verbs=VERBS,
    )


if __name__ == "__main__":
    sys.exit(main())
