"""Know a command with `--resume` again that a scheduler has put back into its queue. No torch.

The first start of such a command goes back to the checkpoint. Its next starts must continue from
what the first one has saved, and not go back again and again.
"""

from __future__ import annotations

import json
from pathlib import Path

from gpt2zh.files import run_folder
from gpt2zh.files.durable import write_whole
from gpt2zh.plan.run_plan import RunPlan

RESUMED = "resumed.json"
"""File in the run folder: which command went back to which checkpoint."""


def find_continuation(plan: RunPlan) -> Path | None:
    """Return the checkpoint from which the same command continues, if it has saved one since.

    Returns:
        The newest complete checkpoint; None if this is the first start of the command.

    Raises:
        UserError: There are checkpoints, but none is complete.
    """
    run = plan.config.output
    try:
        saved = json.loads((run / RESUMED).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if saved != _describe(plan):
        return None
    return run_folder.newest_complete(run)[0]


def note_resume(plan: RunPlan) -> None:
    """Note which command goes back to which checkpoint, once the newer ones are set aside.

    Raises:
        OSError: The file cannot be written.
    """
    if plan.options.resume is not None:
        write_whole(plan.config.output / RESUMED, json.dumps(_describe(plan), indent=1) + "\n")


def _describe(plan: RunPlan) -> dict[str, str | None]:
    """Return what makes a command the same; a person who changes a setting goes back again."""
    resume = plan.options.resume
    return {
        "resume": str(resume.resolve()) if resume else None,
        "config": plan.common_key,
    }
