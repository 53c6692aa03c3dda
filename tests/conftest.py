"""A tiny tokenizer and tiny shards, made by the real commands, for all tests."""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare

# Threads make tiny matrices slower, many times so beside other work. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control ignores Ctrl-C for what it starts with `&`, nohup ignores SIGHUP, and
# every process of the tests would do so, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_PROCESSES = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system")
_started: list[str] = []  # by the test that runs
sys.addaudithook(lambda event, _: _started.append(event) if event in _PROCESSES else None)

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo" / "corpus"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave benchmarks and seeded faults out of `make quick`: most of them start processes.

    Workers take the files with slow tests first: else one of them ends alone with such a file.
    """
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "benchmarks") or (
            item.path.is_relative_to(ROOT / "tests" / "faults")
        ):
            item.add_marker("slow")
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: not any(map(item.get_closest_marker, ("ranks", "slow"))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test of `make quick` fail that starts a process: it needs the mark `slow`."""
    _started.clear()
    result = yield
    is_quick = not any(map(item.get_closest_marker, ("slow", "ranks", "gpu", "slurm")))
    if _started and is_quick and "slow" in item.config.getoption("markexpr"):
        pytest.fail(f"this test starts a process ({_started[0]}); mark it as slow", pytrace=False)
    return result


def demo_texts() -> list[str]:
    """Every document of the demo corpus, in the order of its files."""
    texts = []
    for path in sorted(DEMO.rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts += [row["content"] for row in csv.DictReader(file)]
    return texts


def write_csv(path: Path, texts: list[str]) -> Path:
    """Write documents as a CSV with an id column beside `content`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "content"])
        writer.writerows(enumerate(texts))
    return path


@pytest.fixture(scope="session")
def tiny_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT vocab.txt of the demo corpus' characters, so that tiny models stay tiny."""
    characters = sorted({c for text in demo_texts() for c in text.lower() if not c.isspace()})
    pieces = [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *pieces]
    path.write_text("\n".join(words) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory, tiny_vocabulary: Path) -> Path:
    """Shards with rows of 32 tokens from some verses: 20-odd for training, a few held out."""
    folder = tmp_path_factory.mktemp("data")
    texts = [text for text in demo_texts() if len(text) < 60]
    random.Random(0).shuffle(texts)
    write_csv(folder / "corpus" / "part.csv", texts[:20])
    prepare(
        PrepareConfig(
            input=(str(folder / "corpus"),),
            output=folder / "shards",
            tokenizer=str(tiny_vocabulary),
            row_length=32,
            validation_fraction=0.2,
        )
    )
    return folder / "shards"


@pytest.fixture(scope="session")
def other_shards(tiny_shards: Path) -> Path:
    """A second corpus for mixtures: other verses, the same tokenizer, rows of another length."""
    folder = tiny_shards.parent / "other"
    texts = [text for text in demo_texts() if len(text) < 60]
    random.Random(0).shuffle(texts)
    write_csv(folder / "corpus" / "part.csv", texts[20:50])
    prepare(
        PrepareConfig(
            input=(str(folder / "corpus"),),
            output=folder / "shards",
            tokenizer=str(tiny_shards / "tokenizer"),
            row_length=24,
            validation_fraction=0.2,
        )
    )
    return folder / "shards"
