"""How much memory training takes: the estimate of `gpt2zh estimate` beside real steps.

    python benchmarks/memory.py --json out.json              # on a GPU; about 10 minutes
    python benchmarks/memory.py --ranks 4 --json out.json    # on four
    python benchmarks/memory.py --small                      # tiny models, for a CPU
    python benchmarks/memory.py --table out.json             # the table once more

Every setting has a process of its own, which builds the engine of a real run and takes three steps.
Compared is what torch's allocator has given away: between two steps (`rest`), by a forward pass for
the backward pass (`kept`), and at the peak of each part of the last step. On a GPU the allocator's
`max_memory_allocated` tells; on a CPU every tensor is counted (held/meters.py), where context and
fragmentation do not exist, and what is offloaded is in the same memory as the rest.

`off` is the estimate's error, of the peak of the whole step; the goal is 5 percent. `context` is
what CUDA takes beside the allocator, and `unused` what the allocator has reserved beyond the peak,
which `cost.memory.RESERVE` has to cover; both are estimated by constants.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

GOAL = 0.05


def main() -> int:
    """Measure all settings, or one of them in this process, or print the table."""
    options = parse()
    if options.table:
        show(json.loads(options.table.read_text("utf-8")))
        return 0
    if options.case is not None:
        measure(options)
        return 0
    found = measured(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    show(found)
    return 0 if found["cases"] else 1


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="tiny models, for a CPU")
    parser.add_argument("--only", default="", help="settings whose name holds this text")
    parser.add_argument("--tokenizer", default="builtin", help="gives the vocabulary")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, help="print this JSON")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What was found for each setting, and why others failed."""
    from tests.support.held.cases import cases

    found: dict[str, Any] = {"ranks": options.ranks, "cases": [], "failed": {}}
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        for number, case in enumerate(cases(small=options.small)):
            if options.only not in case.name:
                continue
            out = Path(folder) / f"{number}.json"
            several = ("-m", "torch.distributed.run", "--standalone")
            command = [
                sys.executable,
                *((*several, f"--nproc-per-node={options.ranks}") if options.ranks > 1 else ()),
                *(__file__, *sys.argv[1:], f"--case={number}", f"--json={out}"),
            ]
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode == 0:
                one = json.loads(out.read_text("utf-8"))
                found |= one.pop("machine")
                found["cases"].append(one)
            else:
                lines = [line for line in done.stderr.splitlines() if "Error" in line]
                found["failed"][case.name] = (lines or ["no reason given"])[0]
    return found


def measure(options: argparse.Namespace) -> None:
    """One setting, on every rank; rank 0 writes what it found."""
    from gpt2zh.dist.logs import quiet_libraries

    quiet_libraries()
    import torch
    from tests.support.held.cases import cases
    from tests.support.held.steps import estimated, estimated_between, take

    from gpt2zh.dist.world import World
    from gpt2zh.text.tokenizer import load_tokenizer
    from gpt2zh.train.engine import close, start_processes

    world = World.detect()
    device = start_processes(world)
    case = list(cases(small=options.small))[options.case]
    on_gpu = device.type == "cuda"
    tokenizer = load_tokenizer(options.tokenizer)
    found = take(case, tokenizer, world, device)
    if world.is_main:
        name = torch.cuda.get_device_name() if on_gpu else platform.processor()
        report = {
            "machine": {
                "device": name or platform.machine(),
                "on_gpu": on_gpu,
                "versions": {n: version(n) for n in ("torch", "deepspeed", "transformers")},
            },
            "name": case.name,
            "found": asdict(found),
            "estimate": {
                part: asdict(memory) | {"total": memory.total}
                for part, memory in estimated(case, found, world.size, on_gpu=on_gpu).items()
            },
            "kept": estimated_between(case, found, world.size, on_gpu=on_gpu),
        }
        options.json.write_text(json.dumps(report) + "\n", "utf-8")
    close()


def compared(one: dict[str, Any], *, on_gpu: bool) -> dict[str, tuple[int, int]]:
    """Estimate and measurement of what is allocated, in bytes: what a forward pass leaves behind,
    all between two steps, and all in each part of a step.
    """
    levels = one["found"]["levels"]
    forward = levels["forward"]
    pairs = {"kept": (one["kept"], forward["end"] - forward["begin"])}
    for part, memory in one["estimate"].items():
        # Offloaded things are in the same memory on a CPU.
        expected = memory["total"] - memory["context"] + (0 if on_gpu else memory["host"])
        real = one["found"]["at_rest"] if part == "rest" else levels[part]["peak"]
        pairs[part] = (expected, real)
    peaks = [pairs[part] for part in levels]
    pairs["peak"] = (max(p[0] for p in peaks), max(p[1] for p in peaks))
    return pairs


def show(found: dict[str, Any]) -> None:
    """Print the table, in MiB: estimate, measurement."""
    on_gpu = found.get("on_gpu", False)
    unit = 2**20
    print(f"{found.get('device', '')}, {found['ranks']} ranks; MiB: estimate / measured")
    parts = ("rest", "kept", "forward", "backward", "update", "peak")
    print(
        f"{'':44}" + "".join(f"{part:>17}" for part in parts) + f"{'off':>8}{'context':>9} unused"
    )
    for one in found["cases"]:
        pairs = compared(one, on_gpu=on_gpu)
        cells = [f"{pairs[p][0] / unit:.0f} / {pairs[p][1] / unit:.0f}" for p in parts]
        off = pairs["peak"][0] / pairs["peak"][1] - 1
        beside = one["found"]["beside"]
        rest = ""
        if beside:
            unused = beside["reserved"] - pairs["peak"][1]
            rest = f"{beside['context'] / unit:9.0f}{unused / unit:7.0f}"
        mark = "" if abs(off) <= GOAL else "  more than 5 %"
        print(f"{one['name']:44}" + "".join(f"{c:>17}" for c in cells) + f"{off:+8.1%}{rest}{mark}")
    for name, why in found["failed"].items():
        print(f"{name:44}failed: {why}")


if __name__ == "__main__":
    sys.exit(main())
