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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, table
from benchmarks.harness.processes import in_turn

if TYPE_CHECKING:
    import torch

    from gpt2zh.ranks.world import World

ARMS = ("deepspeed", "deepspeed, on disk", "gpt2zh, waiting", "gpt2zh")
SHAPE = {"ranks": 1, "layers": 12, "width": 768, "context": 64, "micro-batch": 1, "stage": 1}
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
    names = [*(name.replace("-", "_") for name in SHAPE), "precision", "rounds"]
    given = {name: getattr(options, name) for name in names}
    with tempfile.TemporaryDirectory(dir=options.disk, prefix="saving-") as disk:
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        module = ["-m", "benchmarks.saving", "--child=all", f"--disk={disk}", *arguments]
        found = processes.start(processes.Start(module, ranks=options.ranks))
    packages = ("torch", "deepspeed", "safetensors")
    facts = machine.facts(*packages, on_gpu=found.pop("on_gpu"))
    return {"machine": facts, "options": given, **found}


def arm(options: Options) -> dict[str, Any] | None:
    """Save with every arm in turn, then resume with both; on every rank."""
    import torch.distributed as dist

    from gpt2zh.ranks.world import World
    from gpt2zh.train.engine import close, start_processes

    world = World.detect()
    device = start_processes(world)
    bench = Bench(options, world, device)
    bench.steps(3)
    saved = in_turn(ARMS, options.rounds, lambda arm, number: bench.save(arm, step=number + 1))
    resumed = in_turn(("deepspeed", "gpt2zh"), 3, lambda arm, _: bench.resume(arm))
    dist.barrier()
    found = {
        "on_gpu": device.type == "cuda",
        "step_seconds": bench.step_seconds(),
        "parameters": bench.parameters,
        "arms": saved,
        "resume_seconds": {name: statistics.median(times) for name, times in resumed.items()},
    }
    close()
    return found if world.is_main else None


class Bench:
    """An engine that trains, and the ways of saving it."""

    def __init__(self, options: Options, world: World, device: torch.device) -> None:
        """Build the engine and our savers around it."""
        import torch

        from gpt2zh.checkpoint.checkpoint import RunFacts
        from gpt2zh.checkpoint.saver import Saver
        from gpt2zh.config.schema import CheckpointConfig
        from gpt2zh.ranks.control import ControlGroup
        from gpt2zh.ranks.peers import Peers
        from gpt2zh.ranks.stop import StopRequest
        from gpt2zh.ranks.watch import Watch
        from gpt2zh.text.tokenizer import load_tokenizer
        from gpt2zh.train.engine import unwrap_model

        self.options, self.world, self.device = options, world, device
        self.tokenizer = load_tokenizer("builtin")
        self.engine = self.build(None)
        model = unwrap_model(self.engine)
        self.parameters = sum(p.numel() for p in model.parameters())
        shape = (options.micro_batch, options.context)
        self.ids = torch.randint(self.tokenizer.vocab_size, shape, device=device)
        self.control = ControlGroup()
        self.durations: list[float] = []
        watch = Watch(world, folder=options.disk, hang_after=0)
        peers = Peers(world, self.control, StopRequest(), watch)
        self.savers = {
            name: Saver(
                self.engine,
                CheckpointConfig(async_save=asynchronous, keep_last=2),
                options.disk,
                facts=RunFacts(model, self.tokenizer, {}),
                peers=peers,
            )
            for name, asynchronous in (("gpt2zh, waiting", False), ("gpt2zh", True))
        }

    def build(self, weights: Path | None) -> Any:
        """Return a new engine, around the weights of one of our checkpoints if given."""
        from gpt2zh.checkpoint.checkpoint import load_weights
        from gpt2zh.checkpoint.master_weights import materialize_moments
        from gpt2zh.config.deepspeed import resolve
        from gpt2zh.config.schema import ModelConfig, OptimizerConfig, TrainConfig
        from gpt2zh.model.build import new_model
        from gpt2zh.model.loss import SummedLoss
        from gpt2zh.train.engine import build_engine
        from gpt2zh.train.optimizer import build_optimizer

        o = self.options
        shape = ModelConfig(layers=o.layers, width=o.width, heads=o.width // 64, context=o.context)
        rows = o.micro_batch * self.world.size
        train = TrainConfig(micro_batch=o.micro_batch, global_batch=rows, precision=o.precision)
        model = new_model(shape, self.tokenizer, seed=1)
        if weights is not None:
            load_weights(model, weights)
        raw = {"zero_optimization": {"stage": o.stage}}
        resolved = resolve(raw, train, OptimizerConfig(), self.world.size)
        optimizer = build_optimizer(model, OptimizerConfig())
        engine = build_engine(SummedLoss(model), optimizer, resolved)
        materialize_moments(engine)
        return engine

    def step(self, engine: Any) -> None:
        """Take an optimizer step, and wait for it."""
        import torch

        engine.backward(engine(self.ids, self.ids) / self.ids.numel(), scale_wrt_gas=False)
        engine.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.control.barrier()

    def steps(self, count: int) -> None:
        """Take steps without saving."""
        for _ in range(count):
            begun = time.perf_counter()
            self.step(self.engine)
            self.durations.append(time.perf_counter() - begun)

    def step_seconds(self) -> float:
        """Return the seconds of a step without saving."""
        return statistics.median(self.durations[1:])

    def save(self, arm: str, *, step: int) -> dict[str, float]:
        """Save once; return seconds of standing still, of slower steps, and in total."""
        self.steps(3)
        self.control.barrier()
        begun = time.perf_counter()
        if arm in self.savers:
            stall, slower, folder = self._save_ours(arm, step, begun)
        else:
            folder, slower = self.options.disk / "deepspeed", 0.0
            self.engine.save_checkpoint(str(folder), tag=f"step{step}")
            if arm != "deepspeed" and self.world.is_main:
                for path in filter(Path.is_file, sorted(folder.rglob("*"))):
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            self.control.barrier()
            stall = time.perf_counter() - begun
        total = time.perf_counter() - begun
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        if self.world.is_main and arm not in self.savers and step < self.options.rounds:
            shutil.rmtree(folder)
        self.control.barrier()
        if self.world.is_main:
            os.sync()  # so that the next arm does not wait for the bytes of this one
        self.control.barrier()
        return {"stall": stall, "slower": slower, "total": total, "bytes": size}

    def _save_ours(self, arm: str, step: int, begun: float) -> tuple[float, float, Path]:
        from gpt2zh.train.state import TrainState

        saver, slower = self.savers[arm], 0.0
        saver.begin(TrainState(step=step if arm == "gpt2zh" else 1000 + step))
        stall = time.perf_counter() - begun
        while self.control.any(saver.busy)[0]:
            before = time.perf_counter()
            self.step(self.engine)
            slower += time.perf_counter() - before - self.step_seconds()
        saver.complete()
        assert saver.failure is None, saver.failure
        return stall, slower, self.options.disk / f"checkpoint-{saver.saved_step}"

    def resume(self, arm: str) -> float:
        """Return the seconds from a fresh model to the end of the first step."""
        from gpt2zh.checkpoint.checkpoint import load_training
        from gpt2zh.files.run_folder import newest_complete

        self.control.barrier()
        begun = time.perf_counter()
        if arm == "gpt2zh":
            newest = newest_complete(self.options.disk)[0] if self.world.is_main else None
            newest = self.control.broadcast(newest)
            engine = self.build(newest)
            load_training(engine, newest)
        else:
            engine = self.build(None)
            engine.load_checkpoint(str(self.options.disk / "deepspeed"))
        self.step(engine)
        seconds = time.perf_counter() - begun
        engine.destroy()
        return seconds


def markdown(report: dict[str, Any]) -> str:
    """Return the tables, of medians."""
    rows = []
    for arm, rounds in report["arms"].items():
        middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        cost = middle["stall"] + middle["slower"]
        seconds = (middle["stall"], middle["slower"], cost, middle["total"])
        rate = middle["bytes"] / middle["total"] / 1e6
        rows.append([arm, *(f"{value:.2f}" for value in seconds), f"{rate:.0f}"])
    columns = ["arm", "stall s", "slower s", "cost s", "until complete s", "MB/s"]
    resumed = [[arm, f"{seconds:.2f}"] for arm, seconds in report["resume_seconds"].items()]
    return (
        f"{machine.heading(report['machine'])}\n{report['parameters'] / 1e6:.0f} M parameters, "
        f"{report['options']['ranks']} ranks; a step takes {report['step_seconds']:.2f} s.\n\n"
        f"{table(columns, rows)}\n\n"
        f"{table(['resume', 's to the end of the first step'], resumed)}\n"
    )


if __name__ == "__main__":
    sys.exit(Benchmark(__doc__, add_options, measure, markdown, arm).main())
