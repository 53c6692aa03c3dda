"""What a checkpoint costs: how long training stands still, and how soon a resume goes on.

    python benchmarks/saving.py --ranks 2 --disk runs/ --json out.json
    python benchmarks/saving.py --ranks 1 --precision bf16          # on a GPU

One engine (DeepSpeed, ZeRO 1 unless told) trains random tokens and is saved in turn by:

* `deepspeed`: `engine.save_checkpoint`, as it is; it does not wait for the disk.
* `deepspeed, on disk`: the same, then fsync of every file, which makes it as safe as ours.
* `gpt2zh, waiting`: ours with `checkpoint.async_save` false.
* `gpt2zh`: ours as it is by default: a copy in host memory is written beside the next steps.

`stall` is the time for which no step is taken. `slower` is what the steps beside the writing take
more than as many steps alone; on a CPU, hashing and training share the cores, on a GPU they do not.
`cost` is both together. MB/s are those of the whole time until the checkpoint is complete. `resume`
is the time from a fresh model to the end of its first step, files in the page cache: ours compares
every sha256 before, DeepSpeed checks nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ARMS = ("deepspeed", "deepspeed, on disk", "gpt2zh, waiting", "gpt2zh")


def main() -> int:
    """Start the ranks and print the table that rank 0 has measured."""
    options = parse()
    if "RANK" in os.environ:
        measure(options)
        return 0
    with tempfile.TemporaryDirectory(dir=options.disk, prefix="saving-") as disk:
        out = options.json or Path(disk) / "out.json"
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            f"--nproc-per-node={options.ranks}",
            __file__,
            *sys.argv[1:],
            f"--disk={disk}",
            f"--json={out.resolve()}",
        ]
        code = subprocess.run(command).returncode
        if code == 0:
            show(json.loads(out.read_text("utf-8")))
    return code


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--context", type=int, default=64, help="tokens of a row: short on a CPU")
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="times that every arm saves")
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> None:
    """Save with every arm in turn, then resume with both; on every rank."""
    from gpt2zh.ranks.logs import quiet_libraries

    quiet_libraries()
    import torch
    import torch.distributed as dist

    from gpt2zh.ranks.world import World
    from gpt2zh.train.engine import close, start_processes

    world = World.detect()
    device = start_processes(world)
    bench = Bench(options, world, device)
    bench.steps(3)
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for number in range(options.rounds):
        for arm in ARMS:
            found[arm].append(bench.save(arm, step=number + 1))
    resume = bench.resume()
    dist.barrier()
    if world.is_main:
        name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
        report = {
            "device": name or platform.machine(),
            "cores": os.cpu_count(),
            "options": {k: str(v) for k, v in vars(options).items() if k not in ("disk", "json")},
            "versions": {n: version(n) for n in ("torch", "deepspeed", "safetensors")},
            "step_seconds": bench.step_seconds(),
            "parameters": bench.parameters,
            "arms": found,
            "resume_seconds": resume,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    close()


class Bench:
    """An engine that trains, and the ways of saving it."""

    def __init__(self, options: argparse.Namespace, world: Any, device: Any) -> None:
        """Build the engine and our saver around it."""
        import torch

        from gpt2zh.checkpoint import checkpoint
        from gpt2zh.checkpoint.saver import Saver
        from gpt2zh.config.schema import CheckpointConfig
        from gpt2zh.ranks.control import ControlGroup
        from gpt2zh.ranks.watch import Watch
        from gpt2zh.text.tokenizer import load_tokenizer
        from gpt2zh.train.engine import unwrap_model

        self.options, self.world, self.device = options, world, device
        self.tokenizer = load_tokenizer("builtin")
        self.engine = self.build(None)
        self.parameters = sum(p.numel() for p in unwrap_model(self.engine).parameters())
        shape = (options.micro_batch, options.context)
        self.ids = torch.randint(self.tokenizer.vocab_size, shape, device=device)
        self.control = ControlGroup()
        self.durations: list[float] = []
        facts = checkpoint.RunFacts(unwrap_model(self.engine), self.tokenizer, {})

        def saver(asynchronous: bool) -> Saver:
            return Saver(
                self.engine,
                CheckpointConfig(async_save=asynchronous, keep_last=2),
                options.disk,
                facts=facts,
                world=world,
                control=self.control,
                watch=Watch(world, folder=options.disk, hang_after=0),
            )

        self.savers = {"gpt2zh, waiting": saver(False), "gpt2zh": saver(True)}

    def build(self, weights: Path | None) -> Any:
        """A new engine, around the weights of one of our checkpoints if given."""
        from gpt2zh.checkpoint import checkpoint, master_weights
        from gpt2zh.config.deepspeed import resolve
        from gpt2zh.config.schema import ModelConfig, OptimizerConfig, TrainConfig
        from gpt2zh.model.build import new_model
        from gpt2zh.model.loss import SummedLoss
        from gpt2zh.train.engine import build_engine
        from gpt2zh.train.optimizer import build_optimizer

        o = self.options
        shape = ModelConfig(layers=o.layers, width=o.width, heads=o.width // 64, context=o.context)
        train = TrainConfig(
            micro_batch=o.micro_batch,
            global_batch=o.micro_batch * self.world.size,
            precision=o.precision,
        )
        model = new_model(shape, self.tokenizer, seed=1)
        if weights is not None:
            checkpoint.load_weights(model, weights)
        raw = {"zero_optimization": {"stage": o.stage}}
        resolved = resolve(raw, train, OptimizerConfig(), self.world.size)
        engine = build_engine(
            SummedLoss(model), build_optimizer(model, OptimizerConfig()), resolved
        )
        master_weights.materialize_moments(engine)
        return engine

    def step(self, engine: Any) -> None:
        """One optimizer step, waited for."""
        import torch

        engine.backward(engine(self.ids, self.ids) / self.ids.numel(), scale_wrt_gas=False)
        engine.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.control.barrier()

    def steps(self, count: int) -> None:
        """Steps that nothing disturbs."""
        for _ in range(count):
            begun = time.perf_counter()
            self.step(self.engine)
            self.durations.append(time.perf_counter() - begun)

    def step_seconds(self) -> float:
        """Seconds of an undisturbed step."""
        return statistics.median(self.durations[1:])

    def save(self, arm: str, *, step: int) -> dict[str, float]:
        """Save once; how long the training stood still, was slower, and until it was complete."""
        from gpt2zh.train.state import TrainState

        self.steps(3)
        self.control.barrier()
        begun = time.perf_counter()
        slower = 0.0
        if arm in self.savers:
            saver = self.savers[arm]
            saver.begin(TrainState(step=step if arm == "gpt2zh" else 1000 + step))
            stall = time.perf_counter() - begun
            while self.control.any(saver.busy)[0]:
                before = time.perf_counter()
                self.step(self.engine)
                slower += time.perf_counter() - before - self.step_seconds()
            saver.complete()
            assert saver.failure is None, saver.failure
            folder = self.options.disk / f"checkpoint-{saver.saved_step}"
        else:
            folder = self.options.disk / "deepspeed"
            self.engine.save_checkpoint(str(folder), tag=f"step{step}")
            if arm != "deepspeed" and self.world.is_main:
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
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
            os.sync()  # the next arm shall not wait for this one's bytes
        self.control.barrier()
        return {"stall": stall, "slower": slower, "total": total, "bytes": size}

    def resume(self) -> dict[str, float]:
        """Seconds from a fresh model to the end of the first step, each way three times."""
        from gpt2zh.checkpoint import checkpoint
        from gpt2zh.files import run_folder

        found: dict[str, list[float]] = {"deepspeed": [], "gpt2zh": []}
        for _ in range(3):
            for arm, times in found.items():
                self.control.barrier()
                begun = time.perf_counter()
                if arm == "gpt2zh":
                    newest = None
                    if self.world.is_main:
                        newest, _ = run_folder.newest_complete(self.options.disk)
                    newest = self.control.broadcast(newest)
                    engine = self.build(newest)
                    checkpoint.load_training(engine, newest)
                else:
                    engine = self.build(None)
                    engine.load_checkpoint(str(self.options.disk / "deepspeed"))
                self.step(engine)
                times.append(time.perf_counter() - begun)
                engine.destroy()
                del engine
        return {arm: statistics.median(times) for arm, times in found.items()}


def show(report: dict[str, Any]) -> None:
    """Print the medians as a table."""
    print(
        f"{report['parameters'] / 1e6:.0f} M parameters, {report['options']['ranks']} ranks, "
        f"{report['device']}, {report['cores']} cores; a step takes {report['step_seconds']:.2f} s"
    )
    print(f"{'':22}{'stall s':>9}{'slower s':>10}{'cost s':>9}{'until complete s':>18}{'MB/s':>7}")
    for arm, rounds in report["arms"].items():
        middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        cost = middle["stall"] + middle["slower"]
        rate = middle["bytes"] / middle["total"] / 1e6
        print(
            f"{arm:22}{middle['stall']:9.2f}{middle['slower']:10.2f}{cost:9.2f}"
            f"{middle['total']:18.2f}{rate:7.0f}"
        )
    for arm, seconds in report["resume_seconds"].items():
        print(f"resume, {arm:14}{seconds:9.2f} s to the end of the first step")


if __name__ == "__main__":
    sys.exit(main())
