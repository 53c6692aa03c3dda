"""Start tiny runs with faults until they are complete, and compare their ends."""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from tests.faults import outside, tiny
from tests.faults.compare import differences
from tests.faults.damage import damage_newest
from tests.faults.endings import Orphans, wrong_ending
from tests.faults.fault import Fault
from tests.faults.ranks import Ended, start

ROOT = Path(__file__).parents[2]
RANKS = 2
STEPS = 14
HANG_AFTER = 6.0
PATIENCE = 60.0  # seconds for one start
_MOST_STARTS = 60  # of one run
_DAMAGE_SHARE = 0.2  # of the starts that follow a fault


@dataclass
class Count:
    """The faults, starts and failures so far."""

    faults: Counter[str] = field(default_factory=Counter)
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
        """Return the command line of launcher/pretrain.py."""
        return tiny.arguments(
            shards,
            run,
            {"stage": self.stage},
            "--validation.every=5steps",
            f"--checkpoint.async_save={str(self.asynchronous).lower()}",
            f"--guard.hang_after={HANG_AFTER}s",
            steps=STEPS,
        )


CASES = [Case(stage, asynchronous) for asynchronous in (True, False) for stage in range(4)]


class Torture:
    """Runs of all cases in turn, with faults, in one folder."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        """Prepare the shards.

        Args:
            options: `faults`, `seconds`, `seed`, `outside` and `sabotage` of the command line.
            work: Folder for shards and runs.
        """
        self._options, self._work = options, work
        self._rng = random.Random(options.seed)
        self._shards = make_shards(work)
        self._orphans = Orphans()  # after the preparation, whose helper processes stay
        self._references: dict[int, Path] = {}
        self._count = Count()

    def run(self, begun: float) -> Count:
        """Start runs until enough faults have struck.

        Args:
            begun: The monotonic time at which the torture began.
        """
        options, count = self._options, self._count
        while count.total < options.faults and time.monotonic() - begun < options.seconds:
            case = CASES[count.runs % len(CASES)]
            run = self._work / f"run-{count.runs}"
            reference = self._reference(case.stage)
            wrong = differences(reference, run, steps=STEPS) if self._disturbed(case, run) else []
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

    def _reference(self, stage: int) -> Path:
        """Return a run without faults; the way of saving must not change its end either."""
        if stage not in self._references:
            run = self._work / f"undisturbed-{stage}"
            ended = self._launch(Case(stage, True), run, None, None)
            if ended.codes != [0] * RANKS:
                log = run.with_suffix(".log").read_text("utf-8")[-3000:]
                raise SystemExit(f"the run without faults failed: {ended}\n{log}")
            self._references[stage] = run
        return self._references[stage]

    def _launch(self, case: Case, run: Path, fault: Fault | None, sabotage: str | None) -> Ended:
        return start(
            case.arguments(self._shards, run),
            ranks=RANKS,
            fault=fault,
            sabotage=sabotage,
            log=run.with_suffix(".log"),
            told=run.with_suffix(".told"),
            patience=PATIENCE,
        )

    def _disturbed(self, case: Case, run: Path) -> bool:
        """Start a run again and again, with a fault each time; return whether it is complete."""
        rng, options, count = self._rng, self._options, self._count
        for _ in range(_MOST_STARTS):
            count.starts += 1
            from_outside = rng.random() < options.outside
            complete = (self._from_outside if from_outside else self._with_fault)(case, run)
            if complete is not None:
                return complete
            damaged = rng.random() < _DAMAGE_SHARE and not options.sabotage
            if damaged and (what := damage_newest(run, rng)):
                count.faults[f"damage: {what.rpartition(' ')[2]}"] += 1
        count.failures.append(
            f"run {count.runs} ({case}) is not complete after {_MOST_STARTS} starts"
        )
        return False

    def _from_outside(self, case: Case, run: Path) -> bool | None:
        """Start once with `deepspeed`.

        Returns:
            Whether the run came to its end well; None if it must be started again.
        """
        count = self._count
        command = case.arguments(self._shards, run)
        done = outside.start(command, self._rng, RANKS, run.with_suffix(".log"))
        count.faults[f"outside: {done.fault}"] += 1
        if done.left:
            count.failures.append(f"run {count.runs}: {done.left} processes are left")
            return False
        return True if done.finished and (run / f"checkpoint-{STEPS}").is_dir() else None

    def _with_fault(self, case: Case, run: Path) -> bool | None:
        """Start once with a random fault; return what `_from_outside` returns."""
        count, told = self._count, run.with_suffix(".told")
        fault = Fault.draw(self._rng, ranks=RANKS, marks=70, notes=30)
        told.unlink(missing_ok=True)
        ended = self._launch(case, run, fault, self._options.sabotage)
        struck = json.loads(told.read_text("utf-8")) if told.exists() else None
        if struck is not None:
            what = "writer" if fault.in_writer else struck["phase"].split(" micro")[0]
            count.faults[f"{fault.kind} | {what.split(' checkpoint-')[0]}"] += 1
        wrong = wrong_ending(ended, fault if struck else None) or self._orphans.found()
        if wrong is not None:
            log = run.with_suffix(".log").read_text("utf-8", errors="replace")[-4000:]
            count.failures.append(f"run {count.runs} ({case}), {struck}: {wrong}\n{log}")
            return False
        count.apart = max(count.apart, ended.apart)
        return None if any(ended.codes) else True


def make_shards(work: Path) -> Path:
    """Prepare some verses of the demo corpus; return the folder of shards."""
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


def keep(run: Path) -> Path:
    """Copy a failed run and its logs to a folder that stays; return the folder."""
    place = Path(tempfile.mkdtemp(prefix="torture-failed-"))
    for path in (run, run.with_suffix(".log"), run.with_suffix(".told")):
        if path.is_dir():
            shutil.copytree(path, place / path.name)
        elif path.exists():
            shutil.copy(path, place)
    return place
