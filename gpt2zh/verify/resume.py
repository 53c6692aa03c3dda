"""`gpt2zh verify resume`: train a segment of a run again, and say whether it comes out the same.

The run itself is only read, and takes no notice: it may be going on. What is trained goes to a
folder of its own.
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
from gpt2zh.pages.numbers import duration
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
    """How the ranks of an act are planned and started."""

    config: type[PretrainConfig]
    make_plan: MakePlan[PretrainConfig]
    module: str


_ACTS = {"pretrain": _Act(PretrainConfig, pretrain.make_plan, "gpt2zh.acts.pretrain")}
"""By the name that a checkpoint's identity holds."""
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-3, "fp16": 2e-3}
"""Largest difference of a loss on other ranks, as a share of it, by precision."""
_DELETED = (
    ": the run, which goes on, has deleted it meanwhile. Do it again after its next save, or let "
    "it keep more: checkpoint.keep_last, checkpoint.keep_every"
)
_TAIL = 60  # lines of a failed training that are shown


def verify_resume(config: VerifyResumeConfig) -> int:
    """Print what was compared and the verdict; 0 if all is as promised, 1 if not."""
    _refuse_folders(config)
    segment = choose_segment(config.run, from_step=config.from_step, to_step=config.to_step)
    with _signals_raise(), _room(config) as output:
        return _verify(segment, output, ranks=config.ranks or segment.ranks)


def _verify(segment: RunSegment, output: Path, *, ranks: int) -> int:
    try:
        saved = open_tensors(segment.end.folder)  # readable from here on, even if it is deleted
    except FileNotFoundError as error:
        raise UserError(f"{error}{_DELETED}") from error
    arguments = segment.arguments(output)
    act = _ACTS[segment.act]
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
    print(_outlook(segment, plan, logged), flush=True)
    code = _train(arguments, plan, segment)
    arrived = files.checkpoint_path(output, segment.steps[-1]).is_dir()
    if code not in (Exit.DONE, Exit.STOPPED) or not arrived:
        print(f"nothing is proved: the training ended with the code {code}")
        if code in (Exit.DONE, Exit.STOPPED):
            return Exit.CRASHED
        return by_signal(-code) if code < 0 else code
    found, verdict = _judge(segment, plan, saved, logged)
    _print(found)
    if all(finding.holds for finding in found):
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
        raise UserError("--keep names the folder itself; leave out --scratch")
    run = config.run.resolve()
    for option, folder in (("--keep", config.keep), ("--scratch", config.scratch)):
        if folder is not None and folder.resolve().is_relative_to(run):
            raise UserError(f"{option} {folder} lies in the run, where nothing shall be written")
    if config.keep is not None and config.keep.exists():
        raise UserError(f"--keep {config.keep} is there already; name a new folder")


@contextlib.contextmanager
def _room(config: VerifyResumeConfig) -> Iterator[Path]:
    """A folder to train into, which is deleted afterwards if it shall not be kept."""
    if config.keep is not None:
        yield config.keep
        return
    run = config.run.resolve()
    try:
        made = tempfile.mkdtemp(prefix=f"{run.name}-again-", dir=config.scratch or run.parent)
    except OSError as error:
        raise UserError(f"{error}; name a folder that can be written with --scratch") from error
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that would end this process at once leave through every `finally` instead."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(by_signal(number))

    before = {n: signal.signal(n, leave) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outlook(segment: RunSegment, plan: RunPlan, logged: Figures) -> str:
    """What will be trained, and how long that took the run."""
    steps, size = segment.steps, plan.world.size
    speeds = [speed for record in logged.values() if (speed := record.get("tokens_per_second"))]
    time = "the run logged no speed"
    if speeds:
        seconds = len(steps) * plan.tokens_per_step / statistics.median(speeds)
        time = f"about {duration(seconds)} at the run's speed, besides the start"
    return (
        f"training    steps {steps[0]} to {steps[-1]} again from {segment.begin.folder} on "
        f"{size} rank{'s' * (size > 1)} into {plan.config.output}: {time}"
    )


def _train(arguments: Sequence[str], plan: RunPlan, segment: RunSegment) -> int:
    """Train the segment in processes of its own, show their steps, and return the exit code.

    Raises:
        UserError: The run has deleted the checkpoint to train from.
    """
    tail: deque[str] = deque(maxlen=_TAIL)

    def show(line: str) -> None:
        if line.startswith("step "):
            print(f"  {line.partition(' | eta ')[0]}", flush=True)  # that of the whole run
        else:
            tail.append(line)

    # On a CPU the order of sums, and so their last bits, follow from the number of threads.
    threads = _environment(segment.run).get("threads")
    same = plan.world.size == segment.ranks
    code = run_ranks(
        _ACTS[segment.act].module,
        [*arguments, "--verify_data=false"],  # done already
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
    """Compare what the run has with what was trained, and say what it means if all holds."""
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
    verdict = f"alike: {follows}; the rows are the same, and the losses within {tolerance:g} "
    verdict += f"({precision}). Other ranks add up in another order: no bits are promised"
    if plan.config.model.dropout:
        verdict = f"alike: {follows} as far as the rows. With dropout other ranks draw other random"
        verdict += " numbers, so neither losses nor weights are judged"
        return [rows, losses.unjudged, tensors.unjudged], verdict
    return [rows, losses, tensors.unjudged], verdict


def _notes(segment: RunSegment, plan: RunPlan) -> Iterator[str]:
    """What may be the reason of a difference."""
    before, after = segment.begin.described, segment.end.described
    for name in ("ranks", "zero_stage"):
        if before.get(name) != after.get(name):
            yield (
                f"{name} changed between the two from {before.get(name)} to {after.get(name)}, and "
                "a run is only exact where it stays"
            )
    elsewhere = ("log.", "checkpoint.", "validation.")
    if changed := [text for text in find_changed_settings(plan) if not text.startswith(elsewhere)]:
        yield f"between the two the run's settings changed: {', '.join(changed)}"
    there, here = _environment(segment.run), _environment(plan.config.output)
    if other := [f"{k} {v} -> {here[k]}" for k, v in there.items() if here.get(k, v) != v]:
        yield f"the run's last start was in another environment: {', '.join(other)}"


def _environment(run: Path) -> dict[str, str]:
    try:
        told: Any = json.loads((run / ENVIRONMENT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else {}


def _print(found: Sequence[Comparison]) -> None:
    for finding in found:
        mark = "" if finding.holds else "DIFFERENT: "
        print(f"{finding.what:<11} {mark}{finding.text}")
