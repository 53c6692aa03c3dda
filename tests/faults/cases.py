"""The kinds of runs, and their data."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from tests.faults import tiny

ROOT = Path(__file__).parents[2]
STEPS = 14
BAD_STEPS = 3
"""Bad steps in a row that end a run; one of them is always saved, every third step is."""
HANG_AFTER = 6.0


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
            f"--guard.bad_steps={BAD_STEPS}",
            steps=STEPS,
        )


CASES = [Case(stage, asynchronous) for asynchronous in (True, False) for stage in range(4)]


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
