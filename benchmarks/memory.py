"""How much memory training takes: the estimate of gpt2zh and real steps.

    python -m benchmarks.memory --json out.json              # on a GPU; about 10 minutes
    python -m benchmarks.memory --ranks 4 --json out.json    # on four
    python -m benchmarks.memory --small                      # tiny models, for a CPU

Every setting has a process of its own, which builds the engine of a real run and takes three steps.
The table compares what torch's allocator has given out: between two steps (`rest`), by a forward
pass for the backward pass (`kept`), and at the peak of each part of the last step. On a CPU every
tensor is counted (tests/support/held/meters.py); there, what is offloaded is in the same memory.

`off` is the error of the estimate of the whole step's peak; the goal is 5 percent. `context` is
what CUDA takes besides the allocator, and `unused` what the allocator has reserved beyond the peak,
which `cost.memory.RESERVE` has to cover; both are estimated by constants.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, say, table
from benchmarks.harness.processes import ArmError
from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import ModelConfig
from tests.support.held.cases import Case

GOAL = 0.05
MEDIUM = ModelConfig(layers=24, heads=16, width=1024)
TINY = ModelConfig(layers=2, heads=2, width=64, context=32)


def cases(*, small: bool) -> Iterator[Case]:
    """Yield the settings: GPT-2 small and medium on a GPU, or a toy on a CPU."""
    if small:
        tiny = {"stage": 1, "reduce_bucket_size": 100_000}
        yield Case("tiny, stage 1, bf16", TINY, tiny, "bf16", 8, 2)
        second = tiny | {"stage": 2}
        yield Case("tiny, stage 2, fp32, recompute", TINY, second, "fp32", 16, recompute=True)
        return
    zero = {stage: profile(stage)["zero_optimization"] for stage in range(4)}
    usual = Case("stage 1, bf16, compiled", ModelConfig(), zero[1], "bf16", 32, 2, compiled=True)
    eager = replace(usual, compiled=False)
    yield usual
    yield replace(usual, name="stage 1, bf16, compiled, 128 rows", micro_batch=128)
    yield replace(eager, name="stage 1, bf16, eager")
    yield replace(eager, name="stage 1, bf16, eager, 1 row", micro_batch=1)
    yield replace(eager, name="stage 1, fp16, eager", precision="fp16")
    yield replace(eager, name="stage 1, fp32, eager", precision="fp32")
    yield replace(eager, name="stage 1, bf16, eager, recompute", recompute=True, micro_batch=128)
    yield replace(usual, name="stage 1, bf16, compiled, recompute", recompute=True, micro_batch=128)
    yield replace(usual, name="stage 1, bf16, compiled, masked", document_mask=True)
    yield replace(usual, name="stage 1, bf16, compiled, Muon", optimizer="muon")
    chain = ModelConfig(activation="gelu_new")
    yield replace(eager, name="stage 1, bf16, eager, gelu_new", model=chain)
    noisy = ModelConfig(dropout=0.1)
    yield replace(eager, name="stage 1, bf16, eager, dropout", model=noisy)
    for stage in (0, 2, 3):
        yield replace(eager, name=f"stage {stage}, bf16, eager", zero=zero[stage])
    for stage in (2, 3):
        away = profile(stage, offload=True)["zero_optimization"]
        yield replace(eager, name=f"stage {stage}, bf16, eager, offload", zero=away)
    yield replace(usual, name="medium, stage 1, bf16, compiled", model=MEDIUM, micro_batch=16)
    yield replace(eager, name="medium, stage 2, bf16, eager", model=MEDIUM, zero=zero[2])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="tiny models, for a CPU")
    parser.add_argument("--only", default="", help="only settings whose name contains this text")


def measure(options: Options) -> dict[str, Any]:
    """Measure each setting; note why others failed."""
    found: dict[str, Any] = {"ranks": options.ranks, "cases": [], "failed": {}}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    for case in cases(small=options.small):
        if options.only not in case.name:
            continue
        say(f"{case.name} ...")
        module = processes.child("benchmarks.memory", case.name)
        try:
            one = processes.start(processes.Start(module, threads, ranks=options.ranks))
        except ArmError as error:
            found["failed"][case.name] = str(error)
        else:
            found["machine"] = one.pop("machine")
            found["cases"].append(one)
    if not found["cases"]:
        reasons = [f"{name}: {why}" for name, why in found["failed"].items()]
        raise ArmError("; ".join(reasons) or f"no setting's name contains '{options.only}'")
    return found


def arm(options: Options) -> dict[str, Any] | None:
    """Measure one setting, on every rank."""
    from gpt2zh.ranks.world import World
    from gpt2zh.text.tokenizer import load_tokenizer
    from gpt2zh.train.engine import close, start_processes
    from tests.support.held.steps import estimated, estimated_between, take

    world = World.detect()
    device = start_processes(world)
    case = next(case for case in cases(small=options.small) if case.name == options.child)
    on_gpu = device.type == "cuda"
    found = take(case, load_tokenizer("builtin"), world, device)
    close()
    if not world.is_main:
        return None
    estimate = estimated(case, found, world.size, on_gpu=on_gpu)
    return {
        "machine": machine.facts("torch", "deepspeed", "transformers", on_gpu=on_gpu),
        "name": case.name,
        "found": asdict(found),
        "estimate": {p: asdict(memory) | {"total": memory.total} for p, memory in estimate.items()},
        "kept": estimated_between(case, found, world.size, on_gpu=on_gpu),
    }


def compared(one: dict[str, Any], *, on_gpu: bool) -> dict[str, tuple[int, int]]:
    """Return estimate and measurement, in bytes, of `kept`, `rest`, each part and the `peak`."""
    levels = one["found"]["levels"]
    forward = levels["forward"]
    pairs = {"kept": (one["kept"], forward["end"] - forward["begin"])}
    for part, memory in one["estimate"].items():
        # On a CPU, offloaded tensors are in the same memory.
        expected = memory["total"] - memory["context"] + (0 if on_gpu else memory["host"])
        real = one["found"]["at_rest"] if part == "rest" else levels[part]["peak"]
        pairs[part] = (expected, real)
    peaks = [pairs[part] for part in levels]
    pairs["peak"] = (max(p[0] for p in peaks), max(p[1] for p in peaks))
    return pairs


def markdown(report: dict[str, Any]) -> str:
    """Return the table, in MiB: estimate / measurement."""
    parts, unit, rows = ("rest", "kept", "forward", "backward", "update", "peak"), 2**20, []
    for one in report["cases"]:
        pairs = compared(one, on_gpu=report["machine"]["on_gpu"])
        off = pairs["peak"][0] / pairs["peak"][1] - 1
        cells = [f"{pairs[p][0] / unit:.0f} / {pairs[p][1] / unit:.0f}" for p in parts]
        cells.append(f"{off:+.1%}" + ("" if abs(off) <= GOAL else ", more than 5 %"))
        if beside := one["found"]["beside"]:
            unused = beside["reserved"] - pairs["peak"][1]
            cells += [f"{beside['context'] / unit:.0f}", f"{unused / unit:.0f}"]
        rows.append([one["name"], *cells])
    rows += [[name, f"failed: {why}"] for name, why in report["failed"].items()]
    return (
        f"{machine.heading(report['machine'])}\n{report['ranks']} ranks; MiB: estimate / "
        f"measured.\n\n{table(['setting', *parts, 'off', 'context', 'unused'], rows)}\n"
    )


BENCHMARK = Benchmark(__doc__, add_options, measure, markdown, arm)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
