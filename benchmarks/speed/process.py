"""A process of its own for each arm: fresh on a GPU, a fork of this one on a CPU.

A fork of a process that has imported everything, and done nothing else, starts in no time; what it
then changes stays its own. A GPU, and the compiler beside it, want a process that begins anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

from speed.job import Job

_PATIENCE = 3600  # seconds
_ENTRY = Path(__file__).parents[1] / "throughput.py"


def run_process(job: Job, name: str, *, out: Path, log: Path) -> int:
    """Measure an arm, or the `device`.

    Args:
        job: What all arms share.
        name: The arm's.
        out: Gets the figures.
        log: Gets what it prints.

    Returns:
        The exit code.
    """
    if not job.on_gpu and not job.compile:
        return _fork(job, name, out=out, log=log)
    described = out.with_suffix(".job")
    job.write(described)
    command = [sys.executable, str(_ENTRY), "--child", name, "--job", str(described)]
    with log.open("w", encoding="utf-8") as file:
        try:
            return subprocess.run(
                [*command, "--json", str(out)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | _environment(job, out.parent),
                timeout=_PATIENCE,
            ).returncode
        except subprocess.TimeoutExpired:
            file.write(f"error: no end after {_PATIENCE} seconds\n")
            return 1


def import_everything() -> None:
    """What forks shall find."""
    import importlib

    import torch

    from gpt2zh.train.deepspeed_library import import_deepspeed

    torch.set_num_threads(1)  # a pool of threads would not follow into a fork
    import_deepspeed()
    for part in ("measure", "trainer", "bare", "ours", "card"):
        importlib.import_module(f"speed.{part}")


def _fork(job: Job, name: str, *, out: Path, log: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    code = 1
    try:
        os.environ.update(_environment(job, out.parent))
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        from speed.measure import measure

        measure(job, name, out)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:  # and nothing of what this process would do at its end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _environment(job: Job, work: Path) -> dict[str, str]:
    """One GPU, for the Trainer would take all; on a CPU one thread.

    Threads make tiny products slower, and many times so beside other work.
    """
    own = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TMPDIR": str(work)}
    if job.on_gpu:
        own["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    else:
        own["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
        own["DS_ACCELERATOR"] = "cpu"
    return own
