"""The console command `gpt2zh`: everything that neither trains nor prepares data."""

from __future__ import annotations

import sys

from gpt2zh.acts.estimate_options import EstimateConfig
from gpt2zh.acts.generate_options import GenerateConfig
from gpt2zh.config.verbs import Verb, run_verbs
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.ranks.logs import quiet_libraries
from gpt2zh.verify.options import VerifyCheckpointConfig, VerifyResumeConfig

VERBS = (
    Verb(
        name="estimate",
        config=EstimateConfig,
        run="gpt2zh.acts.estimate:run",
        summary="tell what memory a training needs, and the largest micro-batch that fits",
    ),
    Verb(
        name="generate",
        config=(GenerateConfig, SamplingConfig),
        run="gpt2zh.acts.generate:run",
        summary="continue prompts with a trained model",
        positional="model",
    ),
    Verb(
        name="verify checkpoint",
        config=VerifyCheckpointConfig,
        run="gpt2zh.verify.checkpoint:run",
        summary="read every byte of a checkpoint, or of all those of a run, and judge it",
        positional="folder",
    ),
    Verb(
        name="verify resume",
        config=VerifyResumeConfig,
        run="gpt2zh.verify.resume:run",
        summary="train from one checkpoint of a run to the next again, and compare every bit",
        positional="run",
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
