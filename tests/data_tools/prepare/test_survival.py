"""Killed at any moment, on any number of workers and parts: the same bytes in the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
OPTIONS = ("--row-length", "32", "--unit-bytes", "6000", "--validation-fraction", "0.1")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of about 40 units, with duplicates across files and one broken row."""
    rng = random.Random(7)
    signs = "甲乙丙丁戊己庚辛，。\n“” ab"
    texts = ["".join(rng.choices(signs, k=rng.randrange(5, 120))) for _ in range(900)]
    texts += rng.sample(texts, 60)
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(6):
        rows = [text.replace('"', '""') for text in texts[number::6]]
        body = "content\n" + "".join(f'"{row}"\n' for row in rows)
        (folder / f"{number}.csv").write_text(body, "utf-8")
    with (folder / "3.csv").open("ab") as file:
        file.write(b'"\xff"\n')
    return folder


def command(corpus: Path, output: Path, *more: str, verb: str = "prepare") -> list[str]:
    arguments = [sys.executable, "-m", "data_tools", verb]
    if verb == "prepare":
        arguments += ["--input", str(corpus), "--output", str(output), *OPTIONS]
    else:
        arguments += [str(output)]
    return [*arguments, *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


def succeed(arguments: list[str]) -> str:
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what an undisturbed run with one worker writes."""
    output = tmp_path_factory.mktemp("whole") / "out"
    succeed(command(corpus, output, "--workers", "1"))
    return all_bytes(output)


def started(arguments: list[str], stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
    )


def kill_when(arguments: list[str], happened: Callable[[], bool]) -> bool:
    """Run a command and kill it as soon as something happened; tell whether it was killed."""
    process = started(arguments)
    while process.poll() is None and not happened():
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() != 0


def test_killed_in_every_phase_it_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    partial = tmp_path / "out.partial"
    phases: dict[str, Callable[[], bool]] = {
        "planned": lambda: (partial / "work/plan.json").exists(),
        "some drafts": lambda: len(list(partial.glob("work/drafts/*.json"))) > 3,
        "more drafts": lambda: len(list(partial.glob("work/drafts/*.json"))) > 15,
        "decided": lambda: (partial / "work/drafts/decided.json").exists(),
        "some packed": lambda: len(list(partial.glob("work/units/*.json"))) > 5,
        "complete": lambda: (partial / "manifest.json").exists(),
    }
    killed = 0
    for number, happened in enumerate(phases.values()):
        workers = str(1 + number % 2)
        killed += kill_when(command(corpus, tmp_path / "out", "--workers", workers), happened)
        if (partial / "work").exists():
            (partial / "documents-00003.parquet.1.tmp").write_bytes(b"half")
    succeed(command(corpus, tmp_path / "out", "--workers", "2"))
    assert killed >= 4
    assert all_bytes(tmp_path / "out") == whole
    assert os.listdir(tmp_path) == ["out"]


def test_complete_parts_are_not_made_again(corpus: Path, tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    drafts = partial / "work" / "drafts"
    line = command(corpus, tmp_path / "out", "--workers", "1")
    assert kill_when(line, lambda: len(list(drafts.glob("*.json"))) > 8)
    before = {path: path.stat().st_mtime_ns for path in drafts.glob("*.json")}
    assert kill_when(line, lambda: len(list(drafts.glob("*.json"))) > len(before) + 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def processes_of(session: int) -> list[str]:
    """Return the commands of the processes of a session that still run."""
    done = run(["ps", "-o", "stat=,args=", "-s", str(session)])
    return [line for line in done.stdout.splitlines() if not line.startswith("Z")]


def caught_at_work(
    corpus: Path, tmp_path: Path, **how: int
) -> tuple[list[str], subprocess.Popen[bytes]]:
    """A preparation by two workers that has begun to write drafts, and its command line."""
    for number in range(5):  # on a busy machine it may have ended before we look
        line = command(corpus, tmp_path / f"out-{number}", "--workers", "2")
        process = started(line, **how)
        drafts = tmp_path / f"out-{number}.partial/work/drafts"
        while process.poll() is None:
            if list(drafts.glob("*.json")):
                return line, process
            time.sleep(0.01)
        process.communicate()
    raise AssertionError("it had always ended before anybody looked")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_stays_when_the_main_one_is_killed(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], number: signal.Signals
) -> None:
    line, process = caught_at_work(corpus, tmp_path)
    assert len(processes_of(process.pid)) >= 4  # itself, the server, two workers
    process.send_signal(number)
    process.wait()
    for _ in range(100):
        if not processes_of(process.pid):
            break
        time.sleep(0.1)
    assert processes_of(process.pid) == []
    succeed(line)
    assert all_bytes(Path(line[line.index("--output") + 1])) == whole


def test_one_interrupt_is_answered_by_one_line_each(corpus: Path, tmp_path: Path) -> None:
    _, process = caught_at_work(corpus, tmp_path, stderr=subprocess.PIPE)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "continue where it stopped" in told and "interrupted" in told
    assert "Exception ignored" not in told and "ParquetWriter" not in told


@pytest.mark.parametrize("kind", ["documents", "set_aside", "tokens"])
def test_a_draft_cut_short_by_a_power_cut_is_made_anew(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], kind: str
) -> None:
    line = command(corpus, tmp_path / "out", "--workers", "1")
    succeed([*line, "--part", "1", "--parts", "1"])
    for path in (tmp_path / "out.partial/work/drafts").glob(f"*.{kind}"):
        os.truncate(path, 0)
    succeed(line)
    assert all_bytes(tmp_path / "out") == whole


def test_an_output_beside_the_input_or_behind_a_link_is_none_of_it(
    tmp_path: Path, whole: dict[str, bytes], corpus: Path
) -> None:
    inside = corpus / "out"
    line = command(corpus, inside, "--workers", "1")
    try:
        succeed([*line, "--part", "1", "--parts", "2"])
        succeed([*line, "--part", "2", "--parts", "2"])
        succeed(command(corpus, inside, verb="finish"))
        assert all_bytes(inside) == whole
        assert "nothing to do" in succeed(line)
    finally:
        shutil.rmtree(inside)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    succeed(command(corpus, tmp_path / "link", "--workers", "1"))
    assert all_bytes(tmp_path / "disk") == whole


def test_a_folder_of_the_users_own_that_looks_like_ours_is_left_alone(
    corpus: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "out.replaced"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    line = command(corpus, tmp_path / "out", "--workers", "1")
    succeed(line)
    succeed([*line, "--overwrite", "--row-length", "64"])
    assert (mine / "thesis.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["out", "out.replaced"]


@pytest.mark.parametrize("workers", ["3"])
def test_workers_do_not_change_the_bytes(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], workers: str
) -> None:
    succeed(command(corpus, tmp_path / "out", "--workers", workers))
    assert all_bytes(tmp_path / "out") == whole


def test_parts_made_apart_in_any_order_join_to_the_same_bytes(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """Each part is made in a folder of its own, as on machines without a common disk."""
    for part in ("3", "1", "2"):
        output = tmp_path / f"machine-{part}" / "out"
        succeed(command(corpus, output, "--part", part, "--parts", "3", "--workers", "1"))
        shutil.copytree(
            output.with_name("out.partial"), tmp_path / "out.partial", dirs_exist_ok=True
        )
        done = run(command(corpus, tmp_path / "out", "--workers", "2", verb="finish"))
        assert done.returncode == (0 if part == "2" else 2)
        assert part == "2" or "units are not prepared yet" in done.stderr
    assert all_bytes(tmp_path / "out") == whole


def test_parts_at_the_same_time_in_one_folder(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    lines = [
        command(corpus, tmp_path / "out", "--part", part, "--parts", "2", "--workers", "1")
        for part in ("1", "2")
    ]
    running = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL) for line in lines]
    assert [process.wait() for process in running] == [0, 0]
    succeed(command(corpus, tmp_path / "out", verb="finish"))
    assert all_bytes(tmp_path / "out") == whole


def test_the_same_command_twice_at_once_is_refused(corpus: Path, tmp_path: Path) -> None:
    line = command(corpus, tmp_path / "out", "--workers", "1")
    first = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (tmp_path / "out.partial/work/plan.json").exists():
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second = run(line)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert second.returncode == 2 and "another process is preparing" in second.stderr
    assert first.wait() == 0


def test_going_on_with_another_tokenizer_is_refused_until_restart(
    corpus: Path, tmp_path: Path, tiny_vocabulary: Path
) -> None:
    drafts = tmp_path / "out.partial/work/drafts"
    line = command(corpus, tmp_path / "out", "--workers", "1")
    assert kill_when(line, lambda: len(list(drafts.glob("*.json"))) > 3)
    more = ("--tokenizer", str(tiny_vocabulary))
    done = run([*line, *more])
    assert done.returncode == 2 and "--tokenizer was" in done.stderr and "--restart" in done.stderr
    assert succeed([*line, *more, "--restart"])


def test_a_changed_input_is_refused_and_a_touched_one_is_not(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    drafts = tmp_path / "out.partial/work/drafts"
    line = command(corpus, tmp_path / "out", "--workers", "1")
    assert kill_when(line, lambda: len(list(drafts.glob("*.json"))) > 8)
    drafted = json.loads(next(drafts.glob("0*.json")).read_text())["slices"][0]
    first = corpus / f"{drafted['source']}.csv"
    original = first.read_bytes()
    begin, end = drafted["extent"]["begin"], drafted["extent"]["end"]
    changed = original[begin:end].replace("甲".encode(), "乙".encode(), 1)  # as long as before
    first.write_bytes(original[:begin] + changed + original[end:])
    done = run(line)
    assert done.returncode == 2 and f"{first} changed" in done.stderr
    first.write_bytes(original + b'"x"\n')
    done = run(line)
    assert done.returncode == 2 and f"input {first}: bytes was" in done.stderr
    (corpus / "9.csv").write_text("content\nnew\n")
    first.write_bytes(original)
    done = run(line)
    assert done.returncode == 2 and f"input {corpus / '9.csv'} is new" in done.stderr
    (corpus / "9.csv").unlink()
    succeed(line)
    assert all_bytes(tmp_path / "out") == whole


def test_a_damaged_draft_is_made_anew(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    partial = tmp_path / "out.partial"
    line = command(corpus, tmp_path / "out", "--workers", "1")
    succeed([*line, "--part", "1", "--parts", "1"])
    tokens = partial / "work/drafts/00004.tokens"
    data = bytearray(tokens.read_bytes())
    data[40] ^= 1
    tokens.write_bytes(data)
    done = run(line)
    assert done.returncode == 2 and "was damaged" in done.stderr
    succeed(line)
    assert all_bytes(tmp_path / "out") == whole


def test_what_is_complete_already_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    line = command(corpus, tmp_path / "out", "--workers", "1")
    succeed(line)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert "nothing to do" in succeed(line)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which root alone may")
def test_a_full_disk_keeps_what_is_complete(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        done = run(command(corpus, disk / "out", "--workers", "1"))
        assert done.returncode == 2 and "is full; what is complete is kept" in done.stderr
        complete = list((disk / "out.partial/work/drafts").glob("*.json"))
        assert complete
        assert not run(["mount", "-o", "remount,size=50m", str(disk)]).returncode
        succeed(command(corpus, disk / "out", "--workers", "1"))
        assert all_bytes(disk / "out") == whole
    finally:
        subprocess.run(["umount", str(disk)], check=False)
