"""`gpt2zh verify resume`: train a segment of a run again, and compare the results.

The run itself is only read, so it may still be training. The second training has its own folder.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import statistics
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from gpt2zh.acts import pretrain
from gpt2zh.acts.launch import MakePlan
from gpt2zh.checkpoint.tensor_reader import StoredTensor, open_tensors
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.exit_codes import Exit, by_signal
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.files import run_folder as files
from gpt2zh.pages.numbers import duration, plural
from gpt2zh.plan.resume import find_changed_settings
from gpt2zh.plan.run_plan import ENVIRONMENT, RunPlan
from gpt2zh.ranks.local import run_ranks
from gpt2zh.ranks.world import World
from gpt2zh.verify import comparisons
from gpt2zh.verify.comparisons import Comparison, Figures
from gpt2zh.verify.options import VerifyResumeConfig
from gpt2zh.verify.segment import RunSegment, choose_segment, compute_chains


@dataclass(frozen=True)
class _Act:
    """How to plan an act and start its ranks."""

    config: type[Any]
    make_plan: MakePlan[Any]
    module: str
    again: tuple[str, ...] = ()
    """Options that leave out what the plan has checked already."""


_ACTS = {
    "pretrain": _Act(
        PretrainConfig, pretrain.make_plan, "gpt2zh.acts.pretrain", ("--verify_data=false",)
    )
}
"""Acts by their name in the identity of a checkpoint."""
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-3, "fp16": 2e-3}
"""Largest relative difference of a loss on another number of ranks, by precision."""
_DELETED = (
    ": the run is still training and has deleted it. Try again after its next save, or let it keep "
    "more checkpoints: checkpoint.keep_last, checkpoint.keep_every"
)
_TAIL = 60  # lines of a failed training that are shown


def verify_resume(config: VerifyResumeConfig) -> int:
    """Print each comparison and the verdict; return 0 if all is as promised, 1 if not."""
    _refuse_folders(config)
    segment = choose_segment(config.run, from_step=config.from_step, to_step=config.to_step)
    with _raise_on_signals(), _make_folder(config) as output:
        return _verify(segment, output, ranks=config.ranks or segment.ranks)


def _verify(segment: RunSegment, output: Path, *, ranks: int) -> int:
    try:
        saved = open_tensors(segment.end.folder)  # stays readable even if it is deleted
    except FileNotFoundError as error:
        raise UserError(f"{error}{_DELETED}") from error
    arguments = segment.make_arguments(output)
    act = _ACTS.get(segment.act)
    if act is None:
        raise UserError(
            f"{segment.end.folder} was trained by the act {segment.act!r}, which verify resume "
            f"does not know; it knows {', '.join(_ACTS)}"
        )
    prog = f"deepspeed launcher/{segment.act}.py"
    config, options = parse(act.config, LaunchOptions, argv=arguments, prog=prog)
    plan = act.make_plan(config, options, World(size=ranks, local_size=ranks), None)
    logged = comparisons.read_figures(segment.run, segment.steps)
    expected = list(compute_chains(plan, segment))
    end = segment.end
    rows = comparisons.compare_rows(expected, logged, end.state.chain, name=end.folder.name)
    _print([rows])
    if not rows.holds:
        print("not exact: the run did not read the rows of its data; nothing was trained")
        return 1
    print(_describe_training(segment, plan, logged), flush=True)
    code = _train([*arguments, *act.again], plan, segment, act)
    arrived = files.checkpoint_path(output, segment.steps[-1]).is_dir()
    if code not in (Exit.DONE, Exit.STOPPED) or not arrived:
        print(f"no result: the training ended with exit code {code}")
        if code in (Exit.DONE, Exit.STOPPED):
            return Exit.CRASHED
        return by_signal(-code) if code < 0 else code
    found, verdict = _judge(segment, plan, saved, logged)
    _print(found)
    if all(comparison.holds for comparison in found):
        print(verdict)
        return 0
    for note in _notes(segment, plan):
        print(f"note        {note}")
    print(f"not exact: {segment.end.folder} does not follow from {segment.begin.folder.name}")
    return 1


def _refuse_folders(config: VerifyResumeConfig) -> None:
    """Refuse options that contradict each other or the promise to write nothing to the run."""
    if config.ranks is not None and config.ranks < 1:
        raise UserError(f"--ranks is {config.ranks}; it must be 1 or more")
    if config.keep is not None and config.scratch is not None:
        raise UserError("--keep is the folder itself; leave out --scratch")
    run = config.run.resolve()
    for option, folder in (("--keep", config.keep), ("--scratch", config.scratch)):
        if folder is not None and folder.resolve().is_relative_to(run):
            raise UserError(
                f"{option} {folder} is inside the run, which must not change; use another folder"
            )
    if config.keep is not None and config.keep.exists():
        raise UserError(f"--keep {config.keep} exists already; give a new folder")


@contextlib.contextmanager
def _make_folder(config: VerifyResumeConfig) -> Iterator[Path]:
    """Yield a folder to train into; delete it afterwards unless --keep is given."""
    if config.keep is not None:
        yield config.keep
        return
    run = config.run.resolve()
    try:
        made = tempfile.mkdtemp(prefix=f"{run.name}-again-", dir=config.scratch or run.parent)
    except OSError as error:
        raise UserError(f"{error}; give a writable folder with --scratch") from error
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Raise SystemExit at SIGTERM and SIGHUP, so that every `finally` runs."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(by_signal(number))

    before = {n: signal.signal(n, leave) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe_training(segment: RunSegment, plan: RunPlan, logged: Figures) -> str:
    """Return a line on what will be trained, and how long the run took for it."""
    steps, size = segment.steps, plan.world.size
    speeds = [speed for record in logged.values() if (speed := record.get("tokens_per_second"))]
    time = "the run logged no speed"
    if speeds:
        seconds = len(steps) * plan.tokens_per_step / statistics.median(speeds)
        time = f"about {duration(seconds)} at the run's speed, plus the start"
    return (
        f"training    steps {steps[0]} to {steps[-1]} again from {segment.begin.folder} on "
        f"{plural(size, 'rank')} into {plan.config.output}: {time}"
    )


def _train(arguments: Sequence[str], plan: RunPlan, segment: RunSegment, act: _Act) -> int:
    """Train the segment in new processes, show their steps, and return the exit code.

    Raises:
        UserError: The run has deleted the checkpoint to train from.
    """
    tail: deque[str] = deque(maxlen=_TAIL)

    def show(line: str) -> None:
        if line.startswith("step "):
            print(f"  {line.partition(' | eta ')[0]}", flush=True)  # the eta is of the whole run
        else:
            tail.append(line)

    # On a CPU the number of threads decides the order of sums, and so their last bits.
    threads = _environment(segment.run).get("threads")
    same = plan.world.size == segment.ranks
    code = run_ranks(
        act.module,
        arguments,
        ranks=plan.world.size,
        settings={"OMP_NUM_THREADS": threads} if threads and same else {},
        show=show,
    )
    if code not in (Exit.DONE, Exit.STOPPED):
        if not segment.begin.folder.is_dir():
            raise UserError(f"{segment.begin.folder}{_DELETED}")
        print("".join(f"  {line}\n" for line in tail), end="")
    return code


def _judge(
    segment: RunSegment, plan: RunPlan, saved: Mapping[str, StoredTensor], logged: Figures
) -> tuple[list[Comparison], str]:
    """Compare the run with the second training; also return the verdict if all holds."""
    output, steps, end = plan.config.output, segment.steps, segment.end
    last = files.checkpoint_path(output, steps[-1])
    described, again = files.read_state(last), comparisons.read_figures(output, steps)
    tensors = comparisons.compare_tensors(saved, open_tensors(last))
    follows = f"{end.folder} follows from {segment.begin.folder.name}"
    if plan.world.size == segment.ranks:
        losses = comparisons.compare_steps(logged, again, steps, tolerance=0.0)
        state = comparisons.compare_states(end.described, described)
        return [tensors, state, losses], f"exact: {follows}, bit for bit"
    chain = described["progress"]["chain"]
    rows = Comparison(
        "rows",
        f"read with {plan.world.size} instead of {segment.ranks} ranks: chain {chain[:12]}",
        holds=chain == end.state.chain,
    )
    precision = plan.config.train.precision
    tolerance = TOLERANCE[precision]
    losses = comparisons.compare_steps(logged, again, steps, tolerance=tolerance)
    verdict = f"similar: {follows}; the rows are the same, and the losses within {tolerance:g} "
    verdict += f"({precision}). Another number of ranks sums in another order, so bits may differ"
    if plan.config.model.dropout:
        verdict = f"similar: {follows} as far as the rows. With dropout another number of ranks "
        verdict += "draws other random numbers, so neither losses nor weights are judged"
        return [rows, losses.unjudged, tensors.unjudged], verdict
    return [rows, losses, tensors.unjudged], verdict


def _notes(segment: RunSegment, plan: RunPlan) -> Iterator[str]:
    """Yield possible reasons of a difference."""
    before, after = segment.begin.described, segment.end.described
    for name in ("ranks", "zero_stage"):
        if before.get(name) != after.get(name):
            yield (
                f"{name} changed between the two from {before.get(name)} to {after.get(name)}; a "
                "run is exact only if it stays the same"
            )
    elsewhere = ("log.", "checkpoint.", "validation.")
    if changed := [text for text in find_changed_settings(plan) if not text.startswith(elsewhere)]:
        yield f"the run's settings changed between the two: {', '.join(changed)}"
    there, here = _environment(segment.run), _environment(plan.config.output)
    if other := [f"{k} {v} -> {here[k]}" for k, v in there.items() if here.get(k, v) != v]:
        yield f"the run's last start was in another environment: {', '.join(other)}"


def _environment(run: Path) -> dict[str, str]:
    try:
        found: Any = json.loads((run / ENVIRONMENT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _print(found: Sequence[Comparison]) -> None:
    for comparison in found:
        mark = "" if comparison.holds else "DIFFERENT: "
        print(f"{comparison.what:<11} {mark}{comparison.text}")
