"""What real steps hold, taken by forks of this process as ranks: a start takes a second."""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from held.cases import Case
from held.meters import Level
from held.steps import Found, take

from gpt2zh.dist.logs import quiet_libraries
from gpt2zh.dist.world import World
from gpt2zh.text.tokenizer import load_tokenizer
from gpt2zh.train import engine as engines


def found(cases: Sequence[Case], ranks: int, vocabulary: Path, folder: Path) -> list[Found]:
    """What rank 0 of so many holds in the last step of each case."""
    engines._deepspeed()  # imported once, for all forks
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sys.stdout.flush()
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
                _take_all(cases, World(rank, ranks, rank, ranks), vocabulary, folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    logs = [(folder / f"{rank}.log").read_text("utf-8") for rank in range(ranks)]
    assert codes == [0] * ranks, "\n".join(logs)
    taken = json.loads((folder / "found.json").read_text("utf-8"))
    return [
        Found(vocabulary, at_rest, {name: Level(**level) for name, level in levels.items()})
        for vocabulary, at_rest, levels in taken
    ]


def _take_all(cases: Sequence[Case], world: World, vocabulary: Path, folder: Path) -> None:
    quiet_libraries()
    gc.freeze()  # DeepSpeed collects garbage as it builds an engine, in a process full of objects
    device = engines.start_processes(world)
    from deepspeed.accelerator import get_accelerator

    # DeepSpeed refuses fp16 on CPUs without fp16 instructions, for its speed; torch computes it.
    get_accelerator().is_fp16_supported = lambda: True
    tokenizer = load_tokenizer(vocabulary)
    taken = [take(case, tokenizer, world, device) for case in cases]
    if world.is_main:
        plain = [
            (found.vocabulary, found.at_rest, {n: asdict(v) for n, v in found.levels.items()})
            for found in taken
        ]
        (folder / "found.json").write_text(json.dumps(plain), "utf-8")
    engines.close()
