"""Signals and a vanished launcher, sent to real processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import LIMIT

from gpt2zh.ranks import stop as stops
from gpt2zh.ranks.stop import StopRequest

pytestmark = pytest.mark.slow

ASK = """
import sys, time
from gpt2zh.ranks.stop import StopRequest
stop = StopRequest()
if sys.argv[1] == "install":
    stop.install()
stop.has_work = True  # a step was taken
print("asked", stop.asked(), stop.reason, flush=True)
end = time.monotonic() + 900
while time.monotonic() < end:
    if stop.asked():
        print("asked True", stop.reason, flush=True)
        break
    time.sleep(0.02)
time.sleep(900)
"""


class Child:
    """A small process that waits until it is asked to stop, and then stays."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASK, "install"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "asked False None"

    def line(self) -> str:
        return self.process.stdout.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture
def child() -> Iterator[Child]:
    started = Child()
    yield started
    started.process.kill()
    started.process.communicate()


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_only_raises_a_flag(child: Child, number: signal.Signals) -> None:
    child.signal(number)
    assert child.line() == f"asked True {number.name}"
    time.sleep(0.1)
    assert child.process.poll() is None


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_first_step_ends_the_process(number: signal.Signals) -> None:
    code = (
        "import time; from gpt2zh.ranks.stop import StopRequest; stop = StopRequest(); "
        "stop.install(); print('ready', flush=True); time.sleep(900)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "ready"
    child.send_signal(number)
    assert child.wait(LIMIT) == 128 + number
    child.stdout.close()


def test_the_first_reason_stays_and_more_signals_do_not_end_it(child: Child) -> None:
    child.signal(signal.SIGTERM)
    assert child.line() == "asked True SIGTERM"
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        child.signal(number)
    time.sleep(0.2)
    assert child.process.poll() is None


def test_a_second_interrupt_leaves_at_once(child: Child) -> None:
    # Ctrl-C reaches a worker twice: from the terminal and passed on by the launcher.
    child.signal(signal.SIGINT)
    assert child.line() == "asked True SIGINT"
    child.signal(signal.SIGINT)
    time.sleep(0.2)
    assert child.process.poll() is None
    time.sleep(0.8)
    child.signal(signal.SIGINT)
    assert child.process.wait(LIMIT) == 130
    assert "second Ctrl-C" in child.process.stderr.read()


CHAIN = """
import os, subprocess, sys, time
depth = int(sys.argv[1])
print("pid", os.getpid(), flush=True)
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[2], str(depth - 1), sys.argv[2], sys.argv[3]])
else:
    sys.argv[1] = "no"
    exec(sys.argv[3])
time.sleep(900)
"""


DEEPSPEED = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "CROSS_RANK": "0"}
TORCHRUN = {
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "TORCHELASTIC_RUN_ID": "none",
}


@contextlib.contextmanager
def chain(env: dict[str, str]) -> Iterator[tuple[subprocess.Popen, list[int]]]:
    """A worker below two other processes: the first process, and the ids from top to bottom."""
    first = subprocess.Popen(
        [sys.executable, "-c", CHAIN, "2", CHAIN, ASK],
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in {**DEEPSPEED, **TORCHRUN}} | env,
    )
    pids = [int(first.stdout.readline().split()[1]) for _ in range(3)]
    try:
        assert first.stdout.readline().strip() == "asked False None"
        yield first, pids
    finally:
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        first.wait(LIMIT)
        first.stdout.close()


def kill(first: subprocess.Popen, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    if pid == first.pid:
        first.wait(LIMIT)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_launcher_that_has_gone_is_noticed(killed: int) -> None:
    """Under `deepspeed` stand the command and launch.py: nobody else would end the worker."""
    with chain(DEEPSPEED) as (first, pids):
        kill(first, pids[killed])
        ready, _, _ = select.select([first.stdout], [], [], 5)
        assert ready and first.stdout.readline().strip() == "asked True the launcher has gone"


@pytest.mark.parametrize(
    ("env", "killed"), [({}, 0), ({}, 1), (TORCHRUN, 0)], ids=["alone", "nohup", "torchrun"]
)
def test_a_shell_that_has_gone_is_no_reason_to_stop(env: dict[str, str], killed: int) -> None:
    """Someone logs out after `nohup torchrun ... &`: that is what nohup is for."""
    with chain(env) as (first, pids):
        kill(first, pids[killed])
        ready, _, _ = select.select([first.stdout], [], [], 0.5)
        assert not ready, first.stdout.readline()


def test_the_handlers_are_there_before_torch() -> None:
    """A signal during `import torch` must not kill: stop.py may not need it."""
    code = "import sys, gpt2zh.ranks.stop; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_closed_terminal_is_no_reason_to_stop_under_nohup() -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", ASK, "install"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == "asked False None"
        process.send_signal(signal.SIGHUP)
        ready, _, _ = select.select([process.stdout], [], [], 0.5)
        assert not ready, process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline().strip() == "asked True SIGTERM"
    finally:
        process.kill()
        process.communicate()


BLOCKED = """
import ctypes, sys, time
from gpt2zh.ranks.stop import StopRequest
stop = StopRequest()
stop.install()
stop.has_work = sys.argv[1] == "work"
class Mutex(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 64)]
mutex, libc = Mutex(), ctypes.CDLL(None)
libc.pthread_mutex_lock(ctypes.byref(mutex))
print("blocked", flush=True)
libc.pthread_mutex_lock(ctypes.byref(mutex))  # for ever, in C
"""


@contextlib.contextmanager
def blocked(work: str) -> Iterator[subprocess.Popen]:
    """A process whose main thread waits in C, where Python runs no signal handler."""
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED, work],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == "blocked"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_start_that_waits_in_c(number: signal.Signals) -> None:
    """So do torch's store and NCCL while they wait for a rank that does not come."""
    with blocked("no work") as process:
        process.send_signal(number)
        assert process.wait(LIMIT) == 128 + number


def test_a_second_interrupt_leaves_although_the_main_thread_waits_in_c() -> None:
    """The partner was stopped, so that a collective never ends."""
    with blocked("work") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert "second Ctrl-C" in process.stderr.read()


FORK = """
import os, signal, sys, time
from gpt2zh.ranks.stop import StopRequest
stop = StopRequest()
stop.install()
stop.has_work = True
child = os.fork()
if not child:
    time.sleep(900)
    os._exit(0)
time.sleep(0.2)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), stop.asked(), flush=True)
"""


def test_a_signal_to_a_fork_ends_the_fork_and_not_the_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.stdout.strip() == f"{-signal.SIGTERM} False", done.stderr


def test_a_request_of_another_thread_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(stops.os, "_exit", left.append)
    stop = StopRequest()
    stop.has_work = True
    stop.request("gpt2zh stop")
    assert stop.asked() and stop.reason == "gpt2zh stop" and left == []
    lone = StopRequest()
    lone.request("gpt2zh stop")
    assert left == [143]


@pytest.mark.parametrize(
    ("group", "is_orphan"),
    [(500, True), (700, False), (1, False)],
    ids=["adopted", "leads its group", "in the group of init"],
)
def test_a_rank_whose_launcher_ended_before_it_began_is_an_orphan(
    monkeypatch: pytest.MonkeyPatch, group: int, is_orphan: bool
) -> None:
    """The `deepspeed` command was ended while its launch.py was importing torch."""
    monkeypatch.setenv("CROSS_RANK", "0")
    monkeypatch.setattr(stops, "_parents", lambda: (700, 1))
    monkeypatch.setattr(stops.os, "getpgid", {1: 1, 700: group}.__getitem__)
    assert StopRequest().asked() is is_orphan


def test_a_rank_below_a_shell_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSS_RANK", "0")
    monkeypatch.setattr(stops, "_parents", lambda: (700, os.getpid()))
    monkeypatch.setattr(stops.os, "getpgid", lambda process: 500 + process % 7)
    assert not StopRequest().asked()
