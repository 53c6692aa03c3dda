"""Run a script as several ranks that talk through gloo, as a launcher would start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from patience import LIMIT

from gpt2zh.ranks.port import free_port

WORKERS = Path(__file__).parent.parent / "workers"


def run_ranks(worker: str, ranks: int, payload: object) -> str:
    """Run `tests/workers/<worker>` on `ranks` processes and return all they printed.

    Args:
        worker: File name of the script; it gets `payload` as JSON in its first argument.
        ranks: Number of processes.
        payload: What the script reads.

    Raises:
        AssertionError: A rank failed or the time was over.
    """
    port = free_port()
    processes = []
    for rank in range(ranks):
        env = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
        }
        command = [sys.executable, "-u", str(WORKERS / worker), json.dumps(payload)]
        processes.append(
            subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    deadline = time.monotonic() + LIMIT
    outputs = []
    try:
        for process in processes:
            out, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            outputs.append(out)
    finally:
        for process in processes:
            process.kill()
    text = "\n".join(f"[rank {rank}]\n{out}" for rank, out in enumerate(outputs))
    codes = [process.returncode for process in processes]
    assert not any(codes), f"exit codes {codes}\n{text}"
    return text
