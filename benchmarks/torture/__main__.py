"""Torture: N seeded faults in tiny training runs, all of which must end as if there were none.

    make torture N=1000 [SEED=1]
    PYTHONPATH=benchmarks python -m torture --faults 1000 --seed 1

Every run trains a tiny GPT-2 on real text with two processes, DeepSpeed and gloo, dropout on, in
several epochs. In each start one fault strikes at a drawn mark of a drawn rank (`faults`), or the
newest checkpoint is damaged before it (`damage`); some starts go through the `deepspeed` command
and are killed from outside at any moment, imports included. Then the same command is started again,
until the run is done. Its end (weights, moments, row order, losses of all steps) is compared with
that of an undisturbed run at tolerance 0. After every fault all processes must be gone in time and
with the exit codes of the README.
"""

from __future__ import annotations

import argparse
import collections
import csv
import ctypes
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.exit_codes import Exit
from torture import outside, tiny
from torture.compare import differences
from torture.damage import damage_newest
from torture.faults import Fault
from torture.ranks import SABOTAGES, Ended, start

ROOT = Path(__file__).parents[2]
RANKS = 2
STEPS = 14
HANG_AFTER = 6.0
PATIENCE = 60.0  # seconds for one start
_HELPERS: list[psutil.Process] = []  # of the preparation of the data
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
APART = 12.0  # seconds in which all ranks must have followed the first one


@dataclass
class Count:
    """What has happened so far."""

    faults: Counter[str] = field(default_factory=collections.Counter)
    """Faults that have struck, by kind and phase."""
    starts: int = 0
    runs: int = 0
    apart: float = 0.0
    """The longest time in seconds from the end of the first rank to that of the last."""
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Faults that have struck."""
        return sum(self.faults.values())


@dataclass(frozen=True)
class Case:
    """One kind of run."""

    stage: int
    asynchronous: bool

    def arguments(self, shards: Path, run: Path) -> list[str]:
        """The command line of launcher/pretrain.py."""
        return tiny.arguments(
            shards,
            run,
            {"stage": self.stage},
            "--validation.every=5steps",
            f"--checkpoint.async_save={str(self.asynchronous).lower()}",
            f"--guard.hang_after={HANG_AFTER}s",
            steps=STEPS,
        )


def main() -> int:
    """Torture as told, print what happened, and return 1 if a run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=100, help="faults that shall strike")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no run after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outside", type=float, default=0.03, help="share of real launches")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="break the code: runs must differ")
    parser.add_argument("--keep", type=Path, help="folder for the runs, kept")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp(prefix="torture-"))
    work.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        count = torture(options, work, begun)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    seconds = time.monotonic() - begun
    report(options, count, seconds)
    return 1 if count.failures else 0


def torture(options: argparse.Namespace, work: Path, begun: float) -> Count:
    """Run until enough faults have struck."""
    shards = make_shards(work)
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # orphans become our children
    _HELPERS.extend(psutil.Process().children())
    rng = random.Random(options.seed)
    cases = [Case(stage, a) for a in (True, False) for stage in range(4)]
    references: dict[Case, Path] = {}
    count = Count()
    while count.total < options.faults and time.monotonic() - begun < options.seconds:
        case = cases[count.runs % len(cases)]
        # Not by the saving: how it is done must change nothing either.
        base = Case(case.stage, True)
        if base not in references:
            references[base] = undisturbed(base, shards, work)
        run = work / f"run-{count.runs}"
        ended_well = disturbed(case, shards, run, rng, options, count)
        wrong = differences(references[base], run, steps=STEPS) if ended_well else []
        count.failures += [f"run {count.runs} ({case}): {what}" for what in wrong]
        count.runs += 1
        if count.failures and not options.sabotage:
            print(f"failed: {count.failures[-1]}; the run is kept: {keep(run)}", flush=True)
        shutil.rmtree(run, ignore_errors=True)
        rate = count.total / (time.monotonic() - begun)
        left = (options.faults - count.total) / rate if rate else 0
        print(
            f"run {count.runs} {case}: {count.total} faults, {len(count.failures)} failures, "
            f"eta {max(left, 0):.0f} s",
            flush=True,
        )
        if options.sabotage and count.failures:
            break
    return count


def make_shards(work: Path) -> Path:
    """Prepare some verses of the demo corpus."""
    texts = []
    for path in sorted((ROOT / "demo" / "corpus" / "verse").rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts += [row["content"] for row in csv.DictReader(file)]
    alphabet = sorted({c for text in texts for c in text if not c.isspace()})
    (work / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *alphabet]))
    with (work / "corpus.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["content"], *([text] for text in texts[:24])])
    prepare(
        PrepareConfig(
            input=(str(work / "corpus.csv"),),
            output=work / "shards",
            tokenizer=str(work / "vocab.txt"),
            row_length=32,
            validation_fraction=0.2,
        )
    )
    return work / "shards"


def undisturbed(case: Case, shards: Path, work: Path) -> Path:
    """Run a case in one go, and return its folder."""
    run = work / f"undisturbed-{case.stage}"
    log = run.with_suffix(".log")
    ended = launch(case, shards, run, None, None)
    if ended.codes != [0] * RANKS:
        raise SystemExit(f"the undisturbed run failed: {ended}\n{log.read_text('utf-8')[-3000:]}")
    return run


def launch(case: Case, shards: Path, run: Path, fault: Fault | None, sabotage: str | None) -> Ended:
    """Start the ranks once."""
    return start(
        case.arguments(shards, run),
        ranks=RANKS,
        fault=fault,
        sabotage=sabotage,
        log=run.with_suffix(".log"),
        told=run.with_suffix(".told"),
        patience=PATIENCE,
    )


def disturbed(
    case: Case,
    shards: Path,
    run: Path,
    rng: random.Random,
    options: argparse.Namespace,
    count: Count,
) -> bool:
    """Start a run again and again, with a fault each time, until it is done.

    Returns:
        Whether it came to its end.
    """
    told = run.with_suffix(".told")
    for _ in range(60):
        count.starts += 1
        if rng.random() < options.outside:
            done = outside.start(case.arguments(shards, run), rng, RANKS, run.with_suffix(".log"))
            count.faults[f"outside: {done.fault}"] += 1
            if done.left:
                count.failures.append(f"run {count.runs}: {done.left} processes are left")
                return False
            if done.finished and (run / f"checkpoint-{STEPS}").is_dir():
                return True
        else:
            fault = Fault.draw(rng, ranks=RANKS, marks=70, notes=30)
            told.unlink(missing_ok=True)
            ended = launch(case, shards, run, fault, options.sabotage)
            struck = json.loads(told.read_text("utf-8")) if told.exists() else None
            if struck is not None:
                what = "writer" if fault.in_writer else struck["phase"].split(" micro")[0]
                count.faults[f"{fault.kind} | {what.split(' checkpoint-')[0]}"] += 1
            wrong = unexpected(ended, fault if struck else None)
            if wrong is not None:
                log = run.with_suffix(".log").read_text("utf-8", errors="replace")[-4000:]
                count.failures.append(f"run {count.runs} ({case}), {struck}: {wrong}\n{log}")
                return False
            count.apart = max(count.apart, ended.apart)
            if not any(ended.codes):
                return True
        if rng.random() < 0.2 and not options.sabotage and (what := damage_newest(run, rng)):
            count.faults[f"damage: {what.rpartition(' ')[2]}"] += 1
    count.failures.append(f"run {count.runs} ({case}) did not come to its end in 60 starts")
    return False


def unexpected(ended: Ended, fault: Fault | None) -> str | None:
    """What is wrong with the way in which the ranks ended, if anything is."""
    if ended.stuck:
        return f"ranks {ended.stuck} had to be killed ({ended})"
    if ended.apart > APART:
        return f"the ranks ended {ended.apart:.1f} s apart"
    if orphans := _orphans():
        return f"there are orphans: {orphans}"
    codes, kind = ended.codes, fault.kind if fault else "none"
    if kind == "kill -9":
        fine = codes[fault.rank] == -9 and all(
            code == Exit.LOST_RANK for rank, code in enumerate(codes) if rank != fault.rank
        )
        # The last one may be through with everything when the other dies.
        fine = fine or (codes[fault.rank] == -9 and set(codes) <= {-9, Exit.LOST_RANK, 0})
    elif kind == "hang":
        fine = set(codes) <= {Exit.HUNG, Exit.LOST_RANK}
    elif kind.startswith("SIG"):
        number = {"SIGTERM": 15, "SIGINT": 2, "SIGUSR1": 10}[kind]
        # Nothing to save yet: that rank ends at once, the other one loses it.
        early = codes[fault.rank] == 128 + number and set(codes) <= {128 + number, Exit.LOST_RANK}
        fine = early or set(codes) == {Exit.STOPPED} or not any(codes)
    else:
        fine = not any(codes)
    return None if fine else f"exit codes {codes} after {kind}"


def _orphans() -> list[psutil.Process]:
    """Processes that outlived the start they belong to; those that have ended are buried."""
    left = []
    for process in psutil.Process().children():
        if process in _HELPERS:
            continue
        if process.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(process.pid, os.WNOHANG)
        else:
            left.append(process)
    return left


def keep(run: Path) -> Path:
    """Copy what shows a failure to a place where it stays."""
    place = Path(tempfile.mkdtemp(prefix="torture-failed-"))
    for path in (run, run.with_suffix(".log"), run.with_suffix(".told")):
        if path.is_dir():
            shutil.copytree(path, place / path.name)
        elif path.exists():
            shutil.copy(path, place)
    return place


def report(options: argparse.Namespace, count: Count, seconds: float) -> None:
    """Print what happened, and write it as JSON if wanted."""
    for name, times in sorted(count.faults.items()):
        print(f"{times:6} {name}")
    for failure in count.failures:
        print(f"FAILED {failure}")
    print(
        f"{count.total} faults (seed {options.seed}) in {count.starts} starts of {count.runs} runs,"
        f" {seconds:.0f} s: {len(count.failures)} failures; ranks ended at most "
        f"{count.apart:.1f} s apart"
    )
    if options.json is not None:
        figures = {
            "seed": options.seed,
            "sabotage": options.sabotage,
            "faults": dict(count.faults),
            "total": count.total,
            "starts": count.starts,
            "runs": count.runs,
            "seconds": round(seconds),
            "apart_seconds": round(count.apart, 2),
            "failures": count.failures,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
