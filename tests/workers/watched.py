"""Many small runs at once, each of some ranks under a quick `Watch`, in which one rank has a fault.

Importing torch takes longer than a run; so all ranks are forks of this process. Its argument is a
list of cases, it prints a list of what became of their ranks.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import torch.distributed as dist

from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World

STEPS, FAULTY_STEP = 5, 3
PAUSE = 8.0
"""Seconds for which all ranks are stopped."""


class QuickWatch(Watch):
    """All waiting is shorter."""

    beat = 0.1
    silence = 5.0
    short_silence = 1.0


def stuck_for_ever() -> None:
    """Hang as Python code does."""
    while True:
        time.sleep(0.05)


def deaf_for_ever() -> None:
    """Hang without ever giving up Python's lock, so that no other thread runs."""
    re.match("(a+)+$", "a" * 60 + "b")


def no_thread_for_a_second() -> None:
    """Let the kernel refuse what another thread would need."""
    threading.stack_size(64 << 20)  # so that none is left over from a thread that has ended
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), hard))
    time.sleep(1.0)
    resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def strike(fault: str, watch: Watch) -> None:
    """Let a fault happen to this rank."""
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "hangs":
        stuck_for_ever()
    elif fault == "deaf":
        deaf_for_ever()
    elif fault in ("slow", "writing"):
        ended = threading.Event()

        def write() -> None:
            while not ended.wait(0.2):
                watch.note("writing model.safetensors")

        if fault == "writing":
            threading.Thread(target=write).start()
        time.sleep(5.0)
        ended.set()
    elif fault == "no thread":
        no_thread_for_a_second()
    elif fault == "all stopped":
        time.sleep(1.0)  # in which the parent stops all
    else:
        raise ValueError(fault)


def rank_of(case: dict, rank: int, door: socket.socket) -> None:
    """Train, so to speak."""
    world = World(rank, case["ranks"])
    watch = QuickWatch(world, folder=Path(case["folder"]), hang_after=case["hang_after"])
    timeout = datetime.timedelta(seconds=20)

    port = door.getsockname()[1]
    known = {"host_name": "127.0.0.1", "port": port, "wait_for_workers": False, "timeout": timeout}
    if rank == 0:
        server = dist.TCPStore(is_master=True, master_listen_fd=door.detach(), **known)
    else:
        server = None
        door.close()
    others = dist.TCPStore(**known)

    def meet(place: str) -> None:
        others.add(place, 1)
        while others.add(place, 0) < world.size:
            time.sleep(0.01)

    mine = dist.TCPStore(**known)  # which may wait for a name server
    meet("the start")
    watch.start(mine)
    for step in range(1, STEPS + 1):
        watch.step = step
        watch.mark("computing micro-batch 1 of 1")
        time.sleep(0.4)  # some beats
        if step == FAULTY_STEP and rank in case["faulty"]:
            (Path(case["folder"]).parent / "struck").touch()
            strike(case["fault"], watch)
        if not case["in_step"]:
            watch.mark("updating the weights")
        meet(f"step {step}")
    watch.stop()
    meet("the end")
    if server is not None:
        time.sleep(0.5)  # it ends with this process, and the others still ask


def struck(case: dict) -> float:
    """When the fault of a case struck, as `time.time()` tells; 0 if it did not yet."""
    path = Path(case["folder"]).parent / "struck"
    return path.stat().st_mtime if path.exists() else 0.0


def start(case: dict) -> list[int]:
    """Fork the ranks of a case and return their process ids."""
    Path(case["folder"]).parent.mkdir(parents=True)
    door = socket.create_server(("127.0.0.1", 0), backlog=64)
    children = []
    for rank in range(case["ranks"]):
        child = os.fork()
        if child == 0:
            log = Path(case["folder"]).parent / f"rank-{rank}.txt"
            file = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, 1)
            os.dup2(file, 2)
            code = 1
            with contextlib.suppress(RuntimeError):  # of a collective whose other side has gone
                rank_of(case, rank, door)
                code = 0
            if code:
                time.sleep(20)  # the watch is what shall end this rank
            os._exit(code)
        children.append(child)
    door.close()
    return children


def main() -> None:
    """Run all cases side by side."""
    cases = json.loads(sys.argv[1])
    children = {}
    for number, case in enumerate(cases):
        children |= {child: (number, rank) for rank, child in enumerate(start(case))}
    ends: dict[tuple[int, int], tuple[int, float]] = {}
    begun = time.monotonic()
    while len(ends) < len(children) and time.monotonic() - begun < 20:
        for child, who in children.items():
            if who not in ends:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    ends[who] = (os.waitstatus_to_exitcode(status), time.time())
        for child, (number, rank) in children.items():
            since = time.time() - struck(cases[number])
            if cases[number]["fault"] == "all stopped" and (number, rank) not in ends:
                if since < PAUSE:
                    os.kill(child, signal.SIGSTOP)
                elif since > PAUSE + rank:  # one after the other
                    os.kill(child, signal.SIGCONT)
        time.sleep(0.02)
    left = [child for child, who in children.items() if who not in ends]
    for child in reversed(left):  # rank 0 last: the others would say that it died
        os.kill(child, signal.SIGKILL)
    for child in left:
        os.waitpid(child, 0)
    told = []
    for number, case in enumerate(cases):
        folder, begin = Path(case["folder"]).parent, struck(case)
        told.append(
            [
                {
                    "code": ends.get((number, rank), (None,))[0],
                    "seconds": ends.get((number, rank), (None, begin))[1] - begin,
                    "output": (folder / f"rank-{rank}.txt").read_text("utf-8"),
                }
                for rank in range(case["ranks"])
            ]
        )
    print(json.dumps(told))


if __name__ == "__main__":
    main()
