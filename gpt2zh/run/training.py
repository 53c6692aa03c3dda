"""Train as a plan says, from the process group to the last checkpoint, on any data."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import platform
from collections.abc import Generator, Iterator
from importlib.metadata import version

import torch

from gpt2zh import __version__
from gpt2zh.checkpoint import checkpoint
from gpt2zh.checkpoint.saver import Saver
from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.data.batch import Batch
from gpt2zh.data.loader import Portions, training_steps
from gpt2zh.files import pruning, run_folder
from gpt2zh.files.durable import write_whole
from gpt2zh.files.lock import RunLock
from gpt2zh.files.owners import explain_unwritable
from gpt2zh.pages.console import command
from gpt2zh.pages.numbers import plural
from gpt2zh.plan.requeued import note_resume
from gpt2zh.plan.run_plan import ENVIRONMENT, RunPlan
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.logs import say, warn
from gpt2zh.ranks.peers import Peers
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.run.failures import report_failures
from gpt2zh.run.hooks import RunHooks
from gpt2zh.run.start import start
from gpt2zh.run.telemetry import TENSORBOARD
from gpt2zh.train.engine import close, open_store, read_gpu_id, start_processes, unwrap_model
from gpt2zh.train.loop import Task, fit
from gpt2zh.train.state import TrainState


def run_training(
    plan: RunPlan, stop: StopRequest, watch: Watch, lock: RunLock | None = None
) -> Exit:
    """Start the process group, train as planned, and leave the group; all ranks call it.

    Args:
        plan: What to do, checked.
        stop: Its signal handlers are installed already.
        watch: Gets a mark at each phase; started and stopped here.
        lock: That of the run folder, on rank 0; the caller releases it. None takes it here.

    Returns:
        DONE or STOPPED.

    Raises:
        UserError: Another run writes to the folder, the ranks cannot meet, or they disagree.
        RunError: Too many steps had bad numbers, the last state could not be saved, or the run
            folder now belongs to another run.
    """
    with report_failures(watch, plan), contextlib.ExitStack() as held:
        if plan.world.is_main and lock is None:
            lock = RunLock(plan.config.output, asked=lambda: stop.request("gpt2zh stop"))
            held.callback(lock.release)
        train_config = plan.config.train
        device = start_processes(
            plan.world,
            tf32=train_config.precision != "fp32",
            deterministic=train_config.deterministic,
            run=plan.common_key,
            met=lambda: watch.start(open_store()),
        )
        try:
            stopped = train(plan, stop, device, watch, lock)
        except RunError:  # on all ranks
            watch.stop()
            close()
            raise
        watch.stop()
        close()
    return Exit.STOPPED if stopped else Exit.DONE


def train(
    plan: RunPlan,
    stop: StopRequest,
    device: torch.device,
    watch: Watch,
    lock: RunLock | None = None,
) -> bool:
    """Train as planned in the existing process group.

    Returns:
        Whether the run was stopped before the last step.
    """
    with _quick_collections():
        control = ControlGroup()
        return _train(plan, device, Peers(plan.world, control, stop, watch, lock))


def _train(plan: RunPlan, device: torch.device, peers: Peers) -> bool:
    config, world, control, watch = plan.config, plan.world, peers.control, peers.watch
    _compare_ranks(plan, control)
    resume_from, done = control.broadcast((plan.resume_from, plan.done))
    plan = dataclasses.replace(plan, resume_from=resume_from, done=done)
    engine, state, plan = start(plan, device, control, watch)
    watch.mark("opening the run folder")
    if world.is_main:
        _open_run_folder(plan, state)
    control.barrier()
    saver = Saver(
        engine,
        config.checkpoint,
        config.output,
        facts=checkpoint.RunFacts(unwrap_model(engine), plan.data.tokenizer, plan.texts()),
        peers=peers,
    )
    hooks = RunHooks(engine, plan, state, saver, peers)
    if resume_from is not None:
        say(world, f"continuing from {resume_from} at step {state.step}")
    gc.freeze()  # objects made since the first freeze
    task = Task(
        last_step=plan.steps,
        seed=config.seed,
        rank=world.rank,
        learning_rate=plan.learning_rate,
        log_every=config.log.every,
        validates=bool(plan.data.held_out),
    )
    with contextlib.closing(_steps(plan, state, device)) as steps:
        stopped = fit(engine, steps, state, task, watch=watch, hooks=hooks)
    hooks.close()
    watch.mark("waiting for the other ranks")
    control.barrier()  # rank 0 may still delete checkpoints; a rank that left would seem dead
    _farewell(plan, state, stopped)
    return stopped


@contextlib.contextmanager
def _quick_collections() -> Iterator[None]:
    """Let Python's garbage collector check new objects only.

    The libraries make 400,000 objects. A full collection takes 0.9 s, in which no GPU is given
    work; DeepSpeed also collects while it builds an engine.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _steps(
    plan: RunPlan, state: TrainState, device: torch.device
) -> Generator[list[Batch[torch.Tensor]], None, None]:
    return training_steps(
        plan.data,
        Portions(plan.config.train.global_batch, plan.micro_batch),
        first_step=state.step + 1,
        start=state.rows,
        world=plan.world,
        device=device,
    )


def _compare_ranks(plan: RunPlan, control: ControlGroup) -> None:
    """Refuse ranks that share a GPU or that would train on different data or settings."""
    everywhere = control.gather((platform.node(), plan.identity))
    taken = [gpu for gpu in control.gather(read_gpu_id()) if gpu is not None]
    if len(set(taken)) < len(taken):
        raise UserError(
            f"{len(taken)} ranks share {len(set(taken))} GPUs; start one rank per GPU "
            "(deepspeed --num_gpus)"
        )
    for rank, (host, identity) in enumerate(everywhere):
        for name, value in identity.items():
            if value != everywhere[0][1][name]:
                raise UserError(
                    f"rank {rank} on {host} has another {name} ({value!r}) than rank 0 "
                    f"({everywhere[0][1][name]!r}); all machines must see the same files"
                )


def _open_run_folder(plan: RunPlan, state: TrainState) -> None:
    """Write what reproduces the run, and move checkpoints after its new start aside."""
    run = plan.config.output
    run.mkdir(parents=True, exist_ok=True)
    for name, text in (plan.texts() | {ENVIRONMENT: _environment(plan)}).items():
        try:
            write_whole(run / name, text)
        except OSError as error:  # every checkpoint holds them, too
            fault = explain_unwritable(error, run / name)
            warn(plan.world, f"{name} cannot be written: {fault}. Training continues without it")
    try:
        pruning.sweep(run)
    except OSError as error:
        warn(plan.world, f"{run}: what an earlier start left cannot be deleted: {error}")
    for moved in run_folder.set_aside_newer(run, state.step):
        warn(plan.world, f"a checkpoint after step {state.step} was renamed to {moved}")
    try:
        note_resume(plan)
    except OSError as error:
        fault = explain_unwritable(error, run)
        warn(plan.world, f"{fault}. The same command will go back to {plan.options.resume} again")


def _environment(plan: RunPlan) -> str:
    """Return versions and machine as JSON: on other ones the last bits may differ."""
    names = ("torch", "deepspeed", "transformers", "tokenizers", "numpy", "pyarrow")
    environment = {"gpt2zh": __version__, "python": platform.python_version()}
    environment |= {name: version(name) for name in names}
    environment |= {"ranks": str(plan.world.size), "machine": platform.platform()}
    environment |= {"device": _device_name(), "threads": str(torch.get_num_threads())}
    return json.dumps(environment, indent=1) + "\n"


def _device_name() -> str:
    """Return the name of the device, on which the last bits of sums may depend."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({torch.backends.cpu.get_cpu_capability()})"


def _farewell(plan: RunPlan, state: TrainState, stopped: bool) -> None:
    last = run_folder.checkpoint_path(plan.config.output, state.step)
    if stopped and not last.is_dir():  # no step was done in this start
        if plan.resume_from is None:
            say(plan.world, "stopped before the first step was done; start again to begin")
            return
        last = plan.resume_from
    if stopped:
        say(plan.world, f"stopped at step {state.step} of {plan.steps}; start again to continue")
        if "CROSS_RANK" in os.environ:  # its launcher cannot be told that this is no error
            say(
                plan.world,
                f"exit code   {Exit.STOPPED:d}: deepspeed prints it as [ERROR] below, after Ctrl-C "
                "with a traceback of its own; the run is saved",
            )
    else:
        say(plan.world, f"done: {plural(state.step, 'step')}, {plural(state.tokens, 'token')}")
    epochs = plan.data.epochs(state.rows)
    if len(epochs) > 1:
        times = ", ".join(f"{name} {count:.2f} times" for name, count in epochs.items())
        say(plan.world, f"read        {times}")
    say(plan.world, f"checkpoint  {last}")
    curves = command("tensorboard", "--logdir", plan.config.output / TENSORBOARD)
    say(plan.world, f"curves      {curves}")
    generate = command("gpt2zh", "generate", "--model", last, "--prompt")
    say(plan.world, f"write       {generate} 从前有座山")
