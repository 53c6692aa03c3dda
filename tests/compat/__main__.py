"""Compare small checkpoints in other versions of transformers, and in lm-eval, with this project.

    make compat
    python -m tests.compat --keep FOLDER

Two checkpoints are trained with our own launcher: with the builtin tokenizer, and with a BERT
vocabulary. Plain transformers 4.46, 4.51 and the version here answer the same questions about each
(theirs.py), and so do we (ours.py). lm-eval scores documents (rolling.py). What transformers saves
again must load here with the same logits. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.compat import environments, ours
from tests.compat.compare import Finding, compare, compare_logits, compare_numbers

HERE = Path(__file__).parent
STEPS = 150


def main() -> int:
    """Run all comparisons and print a table; return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder for everything; it is not deleted")
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp(prefix="compat-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        return compare_all(work.resolve())
    except environments.EnvironmentFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)


def compare_all(work: Path) -> int:
    """Train, ask everybody, and print what differs."""
    pythons = {name: environments.make(work / "environments", name) for name in environments.RUNS}
    lm_eval = pythons.pop("lm-eval")
    pythons["here"] = Path(sys.executable)
    vocabulary = ours.write_vocabulary(work / "vocab.txt")
    different = total = 0
    for name, tokenizer in {"builtin": "builtin", "bert": str(vocabulary)}.items():
        checkpoint = ours.train(work / name, tokenizer, steps=STEPS)
        findings = {
            version: _ask(checkpoint, python, work / name / version)
            for version, python in pythons.items()
        }
        findings["lm-eval"] = [_score(checkpoint, lm_eval, work / name / "lm-eval")]
        for version, found in findings.items():
            print(f"\n{name} checkpoint, {version}")
            for finding in found:
                mark = "equal    " if finding.equal else "DIFFERENT"
                print(f"  {mark} {finding.what:28} {finding.detail}")
                total += 1
                different += not finding.equal
    print(f"\n{total - different} of {total} comparisons are equal", flush=True)
    return 1 if different else 0


def _ask(checkpoint: Path, python: Path, folder: Path) -> list[Finding]:
    """Let one version of transformers answer, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = folder / "questions.json"
    questions.write_text(json.dumps(ours.ask(checkpoint), ensure_ascii=False), "utf-8")
    environments.run(python, HERE / "theirs.py", questions, folder)
    theirs = json.loads((folder / "answers.json").read_text("utf-8"))
    expected, logits = ours.answer(checkpoint)
    _, again = ours.answer(folder / "again")
    return [
        Finding("version", True, theirs["version"]),
        compare_logits(logits, np.load(folder / "logits.npy")),
        Finding("saved again, loaded here", np.array_equal(logits, again), "logits"),
        *compare(expected, theirs),
    ]


def _score(checkpoint: Path, python: Path, folder: Path) -> Finding:
    """Let lm-eval score documents, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = ours.write_documents(checkpoint, folder / "documents.jsonl")
    environments.run(python, HERE / "rolling.py", checkpoint, folder / "documents.jsonl", folder)
    found = json.loads((folder / "rolling.json").read_text("utf-8"))
    return compare_numbers("bits per byte, rolling", expected, found)


if __name__ == "__main__":
    sys.exit(main())
