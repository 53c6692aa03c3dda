"""What the engine costs beside the mathematics: our step minus a bare torch step, in ms.

    python benchmarks/engine_overhead.py --json out.json
    python benchmarks/engine_overhead.py --table out.json

The model has the 148 parameter tensors of GPT-2 small, but is so narrow and its rows so short that
computing takes next to nothing. What is left is what every step pays on any device: DeepSpeed's
hooks, buckets and copies, tensor by tensor, and ours. Three ways of taking a step take turns in one
process of one rank:

* `torch`: a bare loop (benchmarks/speed/bare.py), in bf16 with fp32 masters as DeepSpeed has them.
* `deepspeed`: forward, `backward` and `step` of the engine, nothing else.
* `gpt2zh`: `train_step` around the same engine: sums, guards, marks.

Overheads are medians of the differences within a turn. Steps of 1 and of 4 micro-batches tell what
is paid per micro-batch and what per step. On a CPU the time is that of the processor, which
neighbours do not lengthen; on a GPU it is that until the device, waited for around every step, is
done: such a tiny step takes as long as the host needs to launch it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; tiny products want one thread
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WIDTH, CONTEXT, VOCABULARY = 64, 8, 128
MANY = 4  # micro-batches


def main() -> int:
    """Measure all cases, or print the table of an earlier run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=60, help="steps of each way in each case")
    parser.add_argument("--stages", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--precisions", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--table", type=Path, help="print the table of such a file, run nothing")
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads(options.table.read_text("utf-8"))))
        return 0
    report = measure(options)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(markdown(report))
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All cases in one process of one rank."""
    from gpt2zh.ranks.logs import quiet_libraries

    quiet_libraries()
    from speed.card import device_name

    from gpt2zh.ranks.control import ControlGroup
    from gpt2zh.ranks.world import World
    from gpt2zh.train.engine import close, start_processes

    device = start_processes(World())
    control = ControlGroup()
    row = [0] * 16  # as the hooks of a run exchange it
    exchange = [timed(lambda: control.exchange(row), device) for _ in range(options.rounds)]
    cases = [
        Case(options.layers, stage, precision, micro_batches, device).measure(options.rounds)
        for precision in options.precisions
        for stage in options.stages
        for micro_batches in (1, MANY)
    ]
    close()
    return {
        "device": device_name(on_gpu=device.type == "cuda"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "deepspeed", "transformers")},
        "rounds": options.rounds,
        "tensors": 12 * options.layers + 4,
        "exchange_ms": statistics.median(exchange),
        "cases": cases,
    }


class Case:
    """A stage, a precision and a number of micro-batches: the same step in three ways."""

    def __init__(
        self, layers: int, stage: int, precision: Any, micro_batches: int, device: Any
    ) -> None:
        """Build an engine and a bare loop of the same model."""
        import torch
        from speed.arms import recipe_of
        from speed.bare import FullWeights, HalfWeights

        from gpt2zh.config.deepspeed import resolve
        from gpt2zh.config.schema import OptimizerConfig, TrainConfig
        from gpt2zh.data.batch import Batch
        from gpt2zh.ranks.watch import Watch
        from gpt2zh.ranks.world import World
        from gpt2zh.train.engine import build_engine
        from gpt2zh.train.optimizer import build_optimizer

        self.stage, self.precision, self.micro_batches = stage, precision, micro_batches
        self.device = device
        config = OptimizerConfig()
        train = TrainConfig(global_batch=micro_batches, micro_batch=1, precision=precision)
        raw = json.loads((ROOT / "ds_configs" / f"zero{stage}.json").read_text("utf-8"))
        wrapped = self._model(layers)
        optimizer = build_optimizer(wrapped.model, config)
        self.engine = build_engine(wrapped, optimizer, resolve(raw, train, config, 1))
        self.engine.train()
        self.module = self._model(layers).to(device).train()
        kind = HalfWeights if precision == "bf16" else FullWeights
        recipe = replace(recipe_of("bare"), precision=precision)
        self.weights = kind(self.module, config, recipe)
        self.clip, self.lr = config.clip, config.lr
        ids = torch.arange(CONTEXT, device=device)[None] % VOCABULARY
        self.batches = [
            Batch(ids, ids, CONTEXT - 1, np.zeros(1, np.int64)) for _ in range(micro_batches)
        ]
        self.watch = Watch(World(), folder=Path(), hang_after=0)

    def _model(self, layers: int) -> Any:
        from gpt2zh.config.schema import ModelConfig
        from gpt2zh.model.build import new_model
        from gpt2zh.model.loss import SummedLoss

        shape = ModelConfig(layers=layers, heads=1, width=WIDTH, context=CONTEXT)
        ids: Any = SimpleNamespace(vocab_size=VOCABULARY, bos_id=1, eos_id=2, pad_id=0)
        return SummedLoss(new_model(shape, ids, seed=1))

    def torch(self) -> None:
        """A step of the bare loop."""
        for group in self.weights.optimizer.param_groups:
            group["lr"] = self.lr
        targets = sum(batch.targets for batch in self.batches)
        for batch in self.batches:
            self.weights.backward(self.module(batch.input_ids, batch.labels) / targets)
        self.weights.step(self.clip)

    def deepspeed(self) -> None:
        """A step of DeepSpeed alone."""
        targets = sum(batch.targets for batch in self.batches)
        for number, batch in enumerate(self.batches, start=1):
            self.engine.set_gradient_accumulation_boundary(number == len(self.batches))
            loss = self.engine(batch.input_ids, batch.labels) / targets
            self.engine.backward(loss, scale_wrt_gas=False)
            self.engine.step()

    def gpt2zh(self) -> None:
        """A step of ours."""
        from gpt2zh.train.step import train_step

        result = train_step(
            self.engine,
            self.batches,
            self.lr,
            seed=1,
            watch=self.watch,
            leaving=lambda _: False,
            refused=None,
        )
        assert result is not None and result.applied

    def measure(self, rounds: int) -> dict[str, Any]:
        """Take turns; the medians in ms of every way and of what it takes more than `torch`."""
        ways: dict[str, Callable[[], None]] = {
            "torch": self.torch,
            "deepspeed": self.deepspeed,
            "gpt2zh": self.gpt2zh,
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(5 + rounds):
            for name, step in ways.items():
                taken = timed(step, self.device)
                if number >= 5:
                    found[name].append(taken)
        self.engine.destroy()
        case = {
            "stage": self.stage,
            "precision": self.precision,
            "micro_batches": self.micro_batches,
            **{f"{name}_ms": statistics.median(times) for name, times in found.items()},
        }
        for name in ("deepspeed", "gpt2zh"):
            pairs = zip(found[name], found["torch"], strict=True)
            case[f"{name}_more_ms"] = statistics.median(a - b for a, b in pairs)
        print(
            f"{self.precision}, ZeRO {self.stage}: {self.micro_batches} micro-batches",
            file=sys.stderr,
            flush=True,
        )
        return case | {"times_ms": found}


def timed(step: Callable[[], Any], device: Any) -> float:
    """How long a step takes, in ms."""
    import torch

    if device.type != "cuda":
        begin = time.process_time()
        step()
        return 1000 * (time.process_time() - begin)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)


def markdown(report: dict[str, Any]) -> str:
    """The table: what a step takes more than a bare one, and per what."""
    cases = {(c["precision"], c["stage"], c["micro_batches"]): c for c in report["cases"]}
    versions = ", ".join(f"{name} {text}" for name, text in report["versions"].items())
    lines = [
        f"{report['device']}; Python {report['python']}, {versions}; {report['tensors']} parameter "
        f"tensors, medians of {report['rounds']} steps, ms. One exchange between the ranks, which "
        f"a run has once a step, takes {report['exchange_ms']:.2f} ms more (one rank).",
        "",
        f"| precision | ZeRO | bare step | more with 1 micro-batch | with {MANY} | "
        "per micro-batch | per step | us per tensor, with 1 | ours of that |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (precision, stage, micro_batches), one in cases.items():
        if micro_batches != 1:
            continue
        many = cases[precision, stage, MANY]
        each = (many["gpt2zh_more_ms"] - one["gpt2zh_more_ms"]) / (MANY - 1)
        rest = one["gpt2zh_more_ms"] - each
        ours = one["gpt2zh_more_ms"] - one["deepspeed_more_ms"]
        lines.append(
            f"| {precision} | {stage} | {one['torch_ms']:.1f} | {one['gpt2zh_more_ms']:+.2f} | "
            f"{many['gpt2zh_more_ms']:+.2f} | {each:+.2f} | {rest:+.2f} | "
            f"{1000 * one['gpt2zh_more_ms'] / report['tensors']:+.1f} | {ours:+.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
