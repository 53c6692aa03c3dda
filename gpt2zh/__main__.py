"""The console command `gpt2zh`: everything that neither trains nor prepares data."""

from __future__ import annotations

import sys

from gpt2zh.acts.options import GenerateConfig, PlannedRun, PlanOptions, StopConfig
from gpt2zh.config.schema import LaunchOptions
from gpt2zh.config.verbs import Verb, run_verbs
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.ranks.logs import quiet_libraries
from gpt2zh.verify.options import VerifyCheckpointConfig, VerifyResumeConfig

VERBS = (
    Verb(
        name="plan",
        config=(PlannedRun, LaunchOptions, PlanOptions),
        run="gpt2zh.acts.plan:run",
        summary="show what a run will do, the memory it needs, and what fits on which GPUs",
    ),
    Verb(
        name="generate",
        config=(GenerateConfig, SamplingConfig),
        run="gpt2zh.acts.generate:run",
        summary="continue prompts with a trained model",
        positional="model",
    ),
    Verb(
        name="stop",
        config=StopConfig,
        run="gpt2zh.acts.stop:run",
        summary="ask the run in a folder to save and end, also on another machine",
        positional="run",
    ),
    Verb(
        name="verify checkpoint",
        config=VerifyCheckpointConfig,
        run="gpt2zh.verify.checkpoint:verify_checkpoints",
        summary="read every byte of a checkpoint, or of all checkpoints of a run, and check it",
        positional="folder",
    ),
    Verb(
        name="verify resume",
        config=VerifyResumeConfig,
        run="gpt2zh.verify.resume:verify_resume",
        summary="train from one checkpoint of a run to the next again, and compare every bit",
        positional="run",
        goes_on=True,
    ),
)


def main() -> int:
    """Run the verb that the command line names and return the exit code."""
    quiet_libraries()
    return run_verbs(
        prog="gpt2zh",
        description="Chinese GPT-2: plan a training run, check it, and use the model.",
        verbs=VERBS,
    )


if __name__ == "__main__":
    sys.exit(main())
