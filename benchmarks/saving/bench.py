"""An engine that trains, and the ways of saving it."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.cli import Options
from benchmarks.harness.processes import in_turn
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


def measure(options: Options) -> dict[str, Any] | None:
    """Save with every arm in turn, then resume with both; the first rank returns the figures."""
    world = World.detect()
    bench = Bench(options, world, engines.start_processes(world))
    bench.steps(3)
    found = {
        "arms": in_turn(ARMS, options.rounds, bench.save),
        "resume_seconds": in_turn((DEEPSPEED, OURS), options.rounds, bench.resume),
        "on_gpu": bench.device.type == "cuda",
        "step_seconds": bench.step_seconds(),
        "parameters": bench.parameters,
    }
    engines.close()
    return found if world.is_main else None


class Bench:
    """An engine that trains, and the ways of saving it."""

    def __init__(self, options: Options, world: World, device: torch.device) -> None:
        """Build the engine and our savers around it."""
        shape = ModelConfig(
            layers=options.layers,
            width=options.width,
            heads=options.width // 64,
            context=options.context,
        )
        zero = {"stage": options.stage}
        self._case = Case("saving", shape, zero, options.precision, options.micro_batch)
        self._disk, self._world, self.device = options.disk, world, device
        self._tokenizer = load_tokenizer("builtin")
        self._engine = build(self._case, self._tokenizer, world)
        model = engines.unwrap_model(self._engine)
        self.parameters = sum(p.numel() for p in model.parameters())
        size = (options.micro_batch, options.context)
        self._ids = torch.randint(self._tokenizer.vocab_size, size, device=device)
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

    def _on_main_rank(self, act: Any) -> None:
        """Let rank 0 act, and the others wait for it."""
        if self._world.is_main:
            act()
        self._control.barrier()


def _sync(folder: Path) -> None:
    """Wait until all files below a folder are on the disk."""
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
