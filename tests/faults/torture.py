"""Start tiny runs with faults until they are complete, and compare their ends."""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gpt2zh.config.exit_codes import Exit
from gpt2zh.files import run_folder
from tests.faults import clock, foreign, outside
from tests.faults.attack import Attack, Deck
from tests.faults.cases import BAD_STEPS, CASES, STEPS, Case, make_shards
from tests.faults.compare import differences
from tests.faults.damage import damage_newest
from tests.faults.early import MEETING
from tests.faults.endings import Orphans, thrown_away, wrong_ending
from tests.faults.ranks import Ranks, Setting
from tests.faults.sabotage import SABOTAGES
from tests.faults.second import SecondStart

RANKS = 2
PATIENCE = 180.0  # seconds for one start
_MOST_STARTS = 60  # of one run
_DAMAGE_SHARE = 0.2  # of the starts that follow a fault
_EXPLAINED = re.compile(r"error: .*(did not come|died|lost)")


@dataclass
class Count:
    """The faults, starts and failures of one seed so far."""

    faults: Counter[str] = field(default_factory=Counter)
    """Faults that have struck, by kind and phase."""
    kinds: Counter[str] = field(default_factory=Counter)
    """The same by kind of attack."""
    starts: int = 0
    runs: int = 0
    differences: int = 0
    """Runs that are complete, but not equal to the one without faults."""
    apart: float = 0.0
    """The longest time in seconds from the end of the first rank to that of the last."""
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Faults that have struck."""
        return sum(self.faults.values())

    def struck(self, kind: str, what: str) -> None:
        """Count a fault."""
        self.faults[what] += 1
        self.kinds[kind] += 1


class Torture:
    """Runs of all cases in turn, with faults, in one folder."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        """Prepare the shards.

        Args:
            options: `faults`, `seconds`, `outside`, `only` and `sabotage` of the command line.
            work: Folder for shards and runs.
        """
        self._options, self._work = options, work
        self._shards = make_shards(work)
        self._orphans = Orphans()  # after the preparation, whose helper processes stay
        self._references: dict[int, Path] = {}

    def run(self, seed: int, faults: int) -> Count:
        """Start runs until enough faults have struck.

        Args:
            seed: Of all random numbers.
            faults: Number of faults.
        """
        options = self._options
        self._count = count = Count()
        self._rng = random.Random(seed)
        self._deck = Deck(self._rng, options.only)
        begun = time.monotonic()
        while count.total < faults and time.monotonic() - begun < options.seconds:
            case = CASES[count.runs % len(CASES)]
            run = self._work / f"run-{seed}-{count.runs}"
            reference, failed = self._reference(case.stage), len(count.failures)
            wrong = differences(reference, run, steps=STEPS) if self._disturbed(case, run) else []
            count.failures += [f"run {count.runs} ({case}): {what}" for what in wrong]
            count.differences += bool(wrong)
            count.runs += 1
            if len(count.failures) > failed and not options.sabotage:
                print(f"failed: {count.failures[-1]}; the run is kept: {keep(run)}", flush=True)
            shutil.rmtree(run, ignore_errors=True)
            rate = count.total / (time.monotonic() - begun)
            left = (faults - count.total) / rate if rate else 0
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
            ended = self._launch(Case(stage, True), run, Attack("none"), None).wait()
            if ended.codes != [0] * RANKS:
                log = run.with_suffix(".log").read_text("utf-8")[-3000:]
                raise SystemExit(f"the run without faults failed: {ended}\n{log}")
            self._references[stage] = run
        return self._references[stage]

    def _launch(self, case: Case, run: Path, attack: Attack, sabotage: str | None) -> Ranks:
        return Ranks(
            case.arguments(self._shards, run),
            Setting(run.with_suffix(".told"), attack.fault, sabotage, attack.hours),
            ranks=RANKS,
            patience=PATIENCE,
            log=run.with_suffix(".log"),
            output=attack.output,
        )

    def _disturbed(self, case: Case, run: Path) -> bool:
        """Start a run again and again, with a fault each time; return whether it is complete."""
        rng, options, count = self._rng, self._options, self._count
        for _ in range(_MOST_STARTS):
            count.starts += 1
            from_outside = rng.random() < options.outside
            complete = (self._from_outside if from_outside else self._attacked)(case, run)
            if options.sabotage not in SABOTAGES and (lost := thrown_away(run)):
                self._fail(run, lost)
                return False
            if complete is not None:
                return complete
            damaged = rng.random() < _DAMAGE_SHARE and not (options.sabotage or options.only)
            if damaged and (what := damage_newest(run, rng)):
                count.struck("damage", f"damage: {what.rpartition(' ')[2]}")
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
        count.struck("outside", f"outside: {done.fault}")
        if done.left:
            count.failures.append(f"run {count.runs}: {done.left} processes are left")
            return False
        return True if done.finished and (run / f"checkpoint-{STEPS}").is_dir() else None

    def _attacked(self, case: Case, run: Path) -> bool | None:
        """Start once with a random attack; return what `_from_outside` returns."""
        count, told, log = self._count, run.with_suffix(".told"), run.with_suffix(".log")
        done = newest_step(run)
        attack = self._deck.draw(ranks=RANKS, steps=STEPS, done=done, bad_steps=BAD_STEPS)
        told.unlink(missing_ok=True)
        printed = log.stat().st_size if log.exists() else 0
        planted = foreign.plant(run, self._rng) if attack.kind == "foreign files" else None
        if attack.hours is not None:
            clock.skew_times(run, attack.hours)
        ranks = self._launch(case, run, attack, self._options.sabotage)
        second = self._second(case, run, attack)
        ended = ranks.wait(second.look if second else None)
        outcome, wrong = second.outcome(ranks) if second else ("", None)
        struck = json.loads(told.read_text("utf-8").splitlines()[0]) if told.exists() else None
        self._note(attack, struck, outcome, planted)
        text = log.read_bytes()[printed:].decode(errors="replace") if log.exists() else ""
        if planted is not None and Exit.REFUSED in ended.codes and planted.is_named_in(text):
            planted.remove()  # as a user can do now
            return None
        if wrong is None and outcome != "came first":
            wrong = wrong_ending(ended, attack.fault if struck else None)
        if wrong is None and struck and struck["place"] in MEETING and not struck["then"]:
            wrong = None if _EXPLAINED.search(text) else "no message about the lost rank"
        wrong = wrong or self._orphans.found()
        if wrong is not None:
            self._fail(run, f"{case}, {attack}, {struck}: {wrong}\n{text[-4000:]}")
            return False
        ranks.check_port()
        count.apart = max(count.apart, ended.apart)
        return True if outcome in ("came first", "took over") or not any(ended.codes) else None

    def _second(self, case: Case, run: Path, attack: Attack) -> SecondStart | None:
        """Prepare the second start of the same command, if the attack has one."""
        if attack.second is None:
            return None
        told, log = run.with_suffix(".second"), run.with_suffix(".second-log")

        def begin(port: int | None) -> Ranks:
            setting = Setting(told, sabotage=self._options.sabotage, accepted=second.accepted)
            command = case.arguments(self._shards, run)
            return Ranks(command, setting, ranks=RANKS, patience=PATIENCE, log=log, port=port)

        second = SecondStart(attack.second, run.with_suffix(".told"), begin)
        return second

    def _note(
        self,
        attack: Attack,
        struck: dict[str, str] | None,
        outcome: str,
        planted: foreign.Foreign | None,
    ) -> None:
        """Count what has happened in a start."""
        kind, fault = attack.kind, attack.fault
        if outcome not in ("", "not begun"):
            way = "" if attack.hours is None else "ahead, " if attack.hours > 0 else "behind, "
            self._count.struck(kind, f"{kind} | {way}{outcome}")
        if kind == "output":
            self._count.struck(kind, f"{kind} | {attack.output}")
        if planted is not None:
            self._count.struck(kind, f"{kind} | {planted.kind}")
        if struck is None or fault is None:
            return
        phase = re.sub(r"\d+", "N", struck["phase"])
        if kind in ("file", "group"):
            self._count.struck(kind, f"{kind} | {phase}{fault.then and ', then ' + fault.then}")
        elif kind == "bad steps":
            self._count.struck(kind, f"{kind} | {fault.kind}")
        else:
            what = "writer" if fault.in_writer else phase.split(" micro")[0]
            self._count.struck("mark", f"{fault.kind} | {what.split(' checkpoint-')[0]}")

    def _fail(self, run: Path, what: str) -> None:
        self._count.failures.append(f"{run.name}: {what}")


def newest_step(run: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 without one."""
    for step, path in reversed(run_folder.list_checkpoints(run)):
        if not run_folder.find_faults(path, content=True):
            return step
    return 0


def keep(run: Path) -> Path:
    """Copy a failed run and its logs to a folder that stays; return the folder."""
    place = Path(tempfile.mkdtemp(prefix="torture-failed-"))
    for suffix in ("", ".log", ".told", ".second-log"):
        path = run.with_suffix(suffix)
        if path.is_dir():
            shutil.copytree(path, place / path.name)
        elif path.exists():
            shutil.copy(path, place)
    return place
