"""Choose a segment of a run between two of its checkpoints, and say how to train it again.

Config, DeepSpeed JSON and number of ranks are those of the later checkpoint: they were in use when
it was written, even if the run was started again with others since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2zh.config.errors import UserError
from gpt2zh.data import chain
from gpt2zh.files import run_folder as files
from gpt2zh.plan.resume import read_identity
from gpt2zh.plan.run_plan import CONFIG, RAW_DEEPSPEED, RunPlan
from gpt2zh.ranks.logs import warn
from gpt2zh.ranks.world import World
from gpt2zh.train.state import TrainState


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint of a run."""

    folder: Path
    described: dict[str, Any]
    """The trainer state, as its JSON file holds it."""

    @property
    def state(self) -> TrainState:
        """Progress of the run at this checkpoint."""
        return TrainState(**self.described["progress"])


@dataclass(frozen=True)
class RunSegment:
    """The steps after one checkpoint up to another of the same run."""

    run: Path
    begin: Checkpoint
    end: Checkpoint

    @property
    def steps(self) -> range:
        """Numbers of its steps."""
        return range(self.begin.state.step + 1, self.end.state.step + 1)

    @property
    def act(self) -> str:
        """Name of the act that trained it."""
        return str(read_identity(self.end.folder)["act"])

    @property
    def ranks(self) -> int:
        """Number of ranks that wrote its last checkpoint."""
        return int(self.end.described["ranks"])

    def make_arguments(self, output: Path) -> list[str]:
        """Return the command line that trains it again into another folder.

        It differs from the run's own only in what is written and measured, which does not change
        the results.
        """
        return [
            f"--config={self.end.folder / CONFIG}",
            f"--deepspeed_config={self.end.folder / RAW_DEEPSPEED}",
            f"--output={output}",
            f"--resume={self.begin.folder}",
            f"--stop_after={len(self.steps)}steps",
            "--log.every=1",
            "--log.rows=false",
            "--checkpoint.every=never",
            "--checkpoint.keep_last=2",
            "--validation.every=never",
            "--validation.rows=1",
            "--validation.sample_tokens=0",
        ]


def choose_segment(run: Path, *, from_step: int | None, to_step: int | None) -> RunSegment:
    """Choose two complete checkpoints and read all their bytes; by default the newest ones.

    Raises:
        UserError: There are not two, or a given step has none, or they are of different runs.
    """
    known = dict(files.list_checkpoints(run))
    if not known:
        raise UserError(f"{run} has no checkpoints; give the folder of a run that has some")
    end = _named(known, to_step, "--to-step") if to_step is not None else _newest(known)
    earlier = {step: path for step, path in known.items() if end and step < end.state.step}
    if from_step is not None:
        begin: Checkpoint | None = _named(known, from_step, "--from-step")
    else:
        begin = _newest(earlier)
    if begin is None or end is None:
        before = f" before {end.folder.name}" if end else ""
        raise UserError(
            f"{run} has no complete checkpoint{before} to train from; it has "
            f"{', '.join(path.name for path in known.values())}. Let it save more often "
            "(checkpoint.every) or keep more (checkpoint.keep_last)"
        )
    if begin.state.step >= end.state.step:
        raise UserError(
            f"--from-step {begin.state.step} must be less than --to-step {end.state.step}"
        )
    _refuse_changed_identity(begin, end)
    return RunSegment(run, begin, end)


def _named(known: dict[int, Path], step: int, option: str) -> Checkpoint:
    if step not in known:
        there = ", ".join(map(str, known))
        raise UserError(
            f"{option} {step}: the run has no checkpoint of this step; it has those of {there}"
        )
    if wrong := files.find_faults(known[step], content=True):
        raise UserError(f"{option} {step} is not a complete checkpoint: {'; '.join(wrong)}")
    return Checkpoint(known[step], files.read_state(known[step]))


def _newest(known: dict[int, Path]) -> Checkpoint | None:
    for _, folder in sorted(known.items(), reverse=True):
        wrong = files.find_faults(folder, content=True)
        if not wrong:
            return Checkpoint(folder, files.read_state(folder))
        warn(World(), f"{'; '.join(wrong)}; using an older checkpoint")
    return None


def _refuse_changed_identity(begin: Checkpoint, end: Checkpoint) -> None:
    before, after = (read_identity(one.folder) for one in (begin, end))
    if changed := [name for name in after if after[name] != before.get(name)]:
        raise UserError(
            f"{' and '.join(changed)} changed between {begin.folder.name} and {end.folder.name} "
            "(--allow-change), so the second cannot follow from the first; choose others with "
            "--from-step and --to-step"
        )


def compute_chains(plan: RunPlan, segment: RunSegment) -> Iterator[tuple[int, str]]:
    """Yield the number of each step and the hash chain after it, from the order of the data alone.

    Args:
        plan: The plan that trains the segment again.
        segment: Its first checkpoint holds the chain to begin with.
    """
    state, batch = segment.begin.state, plan.config.train.global_batch
    link = state.chain
    for done, step in enumerate(segment.steps):
        link = chain.extend(link, plan.data.order(state.rows + done * batch, batch))
        yield step, link
