"""What a checkpoint costs: how long training stands still, and how soon a resume goes on.

    python -m benchmarks.saving --ranks 2 --disk runs/ --json out.json
    python -m benchmarks.saving --ranks 1 --precision bf16          # on a GPU

One engine (DeepSpeed, by default ZeRO 1) trains random tokens and is saved in turn by:

* `deepspeed`: `engine.save_checkpoint`, as it is; it does not wait for the disk.
* `deepspeed, on disk`: the same, then fsync of every file, which makes it as safe as ours.
* `gpt2zh, waiting`: ours with `checkpoint.async_save` false.
* `gpt2zh`: ours by default: a copy in host memory is written during the next steps.

`stall` is the time in which no step is taken. `slower` is what the steps during the writing take
more than as many steps alone; on a CPU, hashing and training share the cores, on a GPU they do not.
`cost` is the sum. MB/s count the whole time until the checkpoint is complete. `resume` is the time
from a fresh model to the end of its first step, files in the page cache: ours compares every sha256
before, DeepSpeed checks nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, table
from gpt2zh.checkpoint.checkpoint import RunFacts, load_training
from gpt2zh.checkpoint.saver import Saver
from gpt2zh.config.schema import CheckpointConfig, ModelConfig
from gpt2zh.files.run_folder import checkpoint_path, newest_complete
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.peers import Peers
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer
from gpt2zh.train import engine as engines
from gpt2zh.train.state import TrainState
from tests.support.held.cases import Case
from tests.support.held.steps import build

DEEPSPEED, OURS = "deepspeed", "gpt2zh"
ARMS = (DEEPSPEED, "deepspeed, on disk", "gpt2zh, waiting", OURS)
SHAPE = {"ranks": 1, "layers": 12, "width": 768, "context": 64, "stage": 1}
HELP = {"context": "tokens of a row: short on a CPU", "stage": "of ZeRO"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    for name, value in SHAPE.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=HELP.get(name))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=3, help="times that every arm saves")
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure")


def measure(options: Options) -> dict[str, Any]:
    """Start the ranks; the first one returns what it has measured."""
    with tempfile.TemporaryDirectory(dir=options.disk, prefix="saving-") as disk:
        module = processes.child("benchmarks.saving", "all", f"--disk={disk}")
        return processes.start(processes.Start(module, ranks=options.ranks))


def arm(options: Options) -> dict[str, Any] | None:
    """Save with every arm in turn, then resume with both; on every rank."""
    world = World.detect()
    bench = Bench(options, world, engines.start_processes(world))
    bench.steps(3)
    on_gpu = bench.device.type == "cuda"
    found = {
        "machine": machine.facts("torch", "deepspeed", "safetensors", on_gpu=on_gpu),
        "options": {name: getattr(options, name) for name in (*SHAPE, "precision", "rounds")},
        "arms": processes.in_turn(ARMS, options.rounds, bench.save),
        "resume_seconds": processes.in_turn((DEEPSPEED, OURS), options.rounds, bench.resume),
        "step_seconds": bench.step_seconds(),
        "parameters": bench.parameters,
    }
    engines.close()
    return found if world.is_main else None


class Bench:
    """An engine that trains, and the ways of saving it."""

    def __init__(self, options: Options, world: World, device: torch.device) -> None:
        """Build the engine and our savers around it."""
        o = options
        shape = ModelConfig(layers=o.layers, width=o.width, heads=o.width // 64, context=o.context)
        self._case = Case("saving", shape, {"stage": o.stage}, o.precision)
        self._disk, self._world, self.device = options.disk, world, device
        self._tokenizer = load_tokenizer("builtin")
        self._engine = build(self._case, self._tokenizer, world)
        model = engines.unwrap_model(self._engine)
        self.parameters = sum(p.numel() for p in model.parameters())
        self._ids = torch.randint(self._tokenizer.vocab_size, (1, o.context), device=device)
        self._control = ControlGroup()
        self._durations: list[float] = []
        watch = Watch(world, folder=options.disk, hang_after=0)
        peers = Peers(world, self._control, StopRequest(), watch)
        facts = RunFacts(model, self._tokenizer, {})
        self._savers = {}
        for name in ARMS[2:]:
            config, run = CheckpointConfig(async_save=name == OURS), options.disk / name
            self._savers[name] = Saver(self._engine, config, run, facts=facts, peers=peers)

    def steps(self, count: int) -> None:
        """Take steps without saving."""
        for _ in range(count):
            self._durations.append(self._step(self._engine))

    def step_seconds(self) -> float:
        """Return the seconds of a step without saving."""
        return statistics.median(self._durations[1:])

    def save(self, arm: str, number: int) -> dict[str, float]:
        """Save once; return seconds of standing still, of slower steps, and in total."""
        if arm not in self._savers:
            self._on_main_rank(lambda: shutil.rmtree(self._disk / DEEPSPEED, ignore_errors=True))
        self.steps(3)
        slower, begun = 0.0, time.perf_counter()
        if saver := self._savers.get(arm):
            saver.begin(TrainState(step=number + 1))
            stall = time.perf_counter() - begun
            slower = self._steps_until_saved(saver)
            folder = checkpoint_path(self._disk / arm, number + 1)
        else:
            folder = self._disk / DEEPSPEED
            self._engine.save_checkpoint(str(folder), tag="step")
            self._on_main_rank(lambda: None if arm == DEEPSPEED else _sync(folder))
            stall = time.perf_counter() - begun
        total = time.perf_counter() - begun
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self._on_main_rank(os.sync)  # so that the next arm does not wait for the bytes of this one
        return {"stall": stall, "slower": slower, "total": total, "bytes": size}

    def resume(self, arm: str, number: int) -> float:
        """Return the seconds from a fresh model to the end of the first step."""
        self._control.barrier()
        begun = time.perf_counter()
        if arm == OURS:
            newest = newest_complete(self._disk / OURS)[0] if self._world.is_main else None
            newest = self._control.broadcast(newest)
            engine = build(self._case, self._tokenizer, self._world, weights=newest)
            load_training(engine, newest)
        else:
            engine = build(self._case, self._tokenizer, self._world)
            engine.load_checkpoint(str(self._disk / DEEPSPEED))
        self._step(engine)
        seconds = time.perf_counter() - begun
        engine.destroy()
        return seconds

    def _step(self, engine: Any) -> float:
        """Take an optimizer step, wait for it, and return the seconds."""
        begun = time.perf_counter()
        engines.backward(engine, engine(self._ids, self._ids) / self._ids.numel())
        engines.update_weights(engine)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self._control.barrier()
        return time.perf_counter() - begun

    def _steps_until_saved(self, saver: Saver) -> float:
        """Train during the writing; return the seconds that the steps took more than usual."""
        slower = 0.0
        while self._control.any(saver.busy)[0]:
            slower += self._step(self._engine) - self.step_seconds()
        saver.complete()
        assert saver.failure is None, saver.failure
        return slower

    def _on_main_rank(self, act: Callable[[], object]) -> None:
        """Let rank 0 act, and the others wait for it."""
        if self._world.is_main:
            act()
        self._control.barrier()


def _sync(folder: Path) -> None:
    """Wait until all files below a folder are on the disk."""
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def markdown(report: dict[str, Any]) -> str:
    """Return the tables, of medians."""
    rows = []
    for arm, rounds in report["arms"].items():
        middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        cost = middle["stall"] + middle["slower"]
        seconds = [middle["stall"], middle["slower"], cost, middle["total"]]
        rate = middle["bytes"] / middle["total"] / 1e6
        rows.append([arm, *(f"{value:.2f}" for value in seconds), f"{rate:.0f}"])
        if resumed := report["resume_seconds"].get(arm):
            rows[-1].append(f"{statistics.median(resumed):.2f}")
    columns = ["arm", "stall s", "slower s", "cost s", "until complete s", "MB/s", "resume s"]
    return (
        f"{machine.heading(report['machine'])}\n{report['parameters'] / 1e6:.0f} M parameters, "
        f"{report['options']['ranks']} ranks; a step takes {report['step_seconds']:.2f} s.\n\n"
        f"{table(columns, rows)}\n"
    )


BENCHMARK = Benchmark(__doc__, add_options, measure, markdown, arm)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
