"""How fast text becomes packed rows: gpt2zh beside run_clm-style `datasets.map`, in one run.

    python benchmarks/prepare.py --input 'corpus/**/*.csv' --tokenizer vocab.txt --json out.json

Arms, each a fresh process with cold caches of its own, pinned to the first core but for those
with several workers:

* `datasets`: tokenize, group into rows, save to disk, as Hugging Face's run_clm.py does it, with
  one process, on a sample of the files (it is slow); its output is counted on the disk.
* `encode_batch`: Hugging Face's `Tokenizer.encode_batch` alone on one core, no reading or writing.
* `encode`: our encoder alone on the same documents in memory, first cold, then warm.
* `prepare`: `python -m data_tools prepare --workers 1`, the whole command with its start.
* `prepare xN`: the same with N workers, on N cores.
* ceilings: reading the files, and pyarrow parsing their text column, on one core.

Rates are MB of input files per second (for `encode*`: of UTF-8 text). Ratios are what counts; the
clock of a shared machine is not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Run the arms asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="quoted glob of CSV files")
    parser.add_argument("--column", default="content", help="column of the text")
    parser.add_argument("--tokenizer", default="builtin", help="as for data_tools prepare")
    parser.add_argument("--copies", type=int, default=1, help="times the corpus is repeated")
    parser.add_argument("--sample", type=float, default=20.0, help="MB for the slow arms")
    parser.add_argument("--workers", type=int, default=2, help="processes of the last arm")
    parser.add_argument("--work", type=Path, help="folder for what is written")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(ARMS[options.arm](options)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        report = measure(options, Path(work))
    print_table(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Make the corpora, run every arm in a process of its own, and return all figures."""
    from data_tools.sources.find import find_files

    files = find_files([options.input])
    corpus, sample = work / "corpus", work / "sample"
    copy_corpus(files, corpus, options.copies, options.column)
    take_sample(files, sample, options.sample * 1e6)
    report: dict[str, Any] = {"machine": describe_machine(), "arms": {}}
    report["input_mb"] = size_of(corpus) / 1e6
    report["sample_mb"] = size_of(sample) / 1e6
    one = min(os.sched_getaffinity(0))
    for name, folder, cores in (
        ("read", corpus, {one}),
        ("parse", corpus, {one}),
        ("datasets", sample, {one}),
        ("encode_batch", sample, {one}),
        ("encode", sample, {one}),
        ("prepare", corpus, {one}),
        ("prepare_n", corpus, os.sched_getaffinity(0)),
    ):
        print(f"... {name}", file=sys.stderr, flush=True)
        report["arms"][name] = run_arm(name, options, folder, work / "out", cores)
        shutil.rmtree(work / "out", ignore_errors=True)
    report["ratios"] = ratios(report["arms"])
    return report


def run_arm(
    name: str, options: argparse.Namespace, folder: Path, out: Path, cores: set[int]
) -> dict[str, Any]:
    """Run one arm pinned to `cores`; its peak memory is that of its largest process."""
    out.mkdir(parents=True)
    arguments = [sys.executable, __file__, "--arm", name, "--input", str(folder)]
    arguments += ["--column", options.column, "--tokenizer", options.tokenizer]
    arguments += ["--workers", str(options.workers), "--work", str(out)]
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(out / "hf"),
        "HF_DATASETS_CACHE": str(out / "hf" / "datasets"),
    }
    done = subprocess.run(
        arguments,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return json.loads(done.stdout.splitlines()[-1])


def arm_read(options: argparse.Namespace) -> dict[str, Any]:
    """Read every byte, and nothing else."""
    begun = time.perf_counter()
    size = 0
    for path in sorted(Path(options.input).rglob("*.csv")):
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 22):
                size += len(block)
    return rate(size, time.perf_counter() - begun)


def arm_parse(options: argparse.Namespace) -> dict[str, Any]:
    """Let pyarrow parse the text column, on one thread."""
    import pyarrow as pa
    from pyarrow import csv

    pa.set_cpu_count(1)
    begun = time.perf_counter()
    size = 0
    for path in sorted(Path(options.input).rglob("*.csv")):
        size += path.stat().st_size
        reader = csv.open_csv(
            path,
            csv.ReadOptions(use_threads=False, block_size=4 << 20),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                include_columns=[options.column],
                column_types={options.column: pa.large_string()},
                strings_can_be_null=False,
            ),
        )
        for _ in reader:
            pass
    return rate(size, time.perf_counter() - begun)


def arm_datasets(options: argparse.Namespace) -> dict[str, Any]:
    """Tokenize, group and save as run_clm.py does."""
    from itertools import chain

    import datasets

    tokenizer = hugging_face(options.tokenizer)
    datasets.disable_progress_bars()
    files = [str(path) for path in sorted(Path(options.input).rglob("*.csv"))]
    size = sum(os.path.getsize(file) for file in files)
    work = Path(options.work)
    begun = time.perf_counter()
    raw = datasets.load_dataset("csv", data_files=files, usecols=[options.column], split="train")

    def tokenize(examples: dict) -> dict:
        texts = [text or "" for text in examples[options.column]]
        return {"input_ids": [e.ids for e in tokenizer.encode_batch(texts)]}

    def group(examples: dict) -> dict:
        flat = list(chain(*examples["input_ids"]))
        whole = len(flat) // 512 * 512
        rows = [flat[i : i + 512] for i in range(0, whole, 512)]
        return {"input_ids": rows, "labels": [list(row) for row in rows]}

    tokens = raw.map(tokenize, batched=True, remove_columns=raw.column_names)
    rows = tokens.map(group, batched=True)
    rows.save_to_disk(str(work / "saved"))
    seconds = time.perf_counter() - begun
    return rate(size, seconds) | {"disk_mb": size_of(work) / 1e6, "tokens": len(rows) * 512}


def arm_encode_batch(options: argparse.Namespace) -> dict[str, Any]:
    """Let Hugging Face encode the documents, and nothing else."""
    texts = documents(options)
    size = sum(len(text.encode()) for text in texts)
    tokenizer = hugging_face(options.tokenizer)
    begun = time.perf_counter()
    for i in range(0, len(texts), 1000):
        tokenizer.encode_batch(texts[i : i + 1000])
    return rate(size, time.perf_counter() - begun)


def arm_encode(options: argparse.Namespace) -> dict[str, Any]:
    """Let our encoder encode the same documents twice: with cold and with warm tables."""
    from data_tools.sources.block import join_spans
    from gpt2zh.text.spans import make_encoder
    from gpt2zh.text.tokenizer import load_tokenizer

    data, begins, ends = join_spans([text.encode() for text in documents(options)])
    tokenizer = load_tokenizer(options.tokenizer)
    encoder = make_encoder(tokenizer)
    encoder.encode(data[:0], begins[:0], ends[:0], closing_id=tokenizer.eos_id)  # load kernels
    figures = []
    for _ in range(2):
        begun = time.perf_counter()
        for i in range(0, len(begins), 5000):
            encoder.encode(
                data, begins[i : i + 5000], ends[i : i + 5000], closing_id=tokenizer.eos_id
            )
        figures.append(rate(len(data), time.perf_counter() - begun))
    return figures[0] | {"warm_mb_per_s": figures[1]["mb_per_s"]}


def arm_prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Run the whole command with one worker."""
    return prepare(options, workers=1)


def arm_prepare_n(options: argparse.Namespace) -> dict[str, Any]:
    """Run the whole command with several workers."""
    return prepare(options, workers=options.workers)


def prepare(options: argparse.Namespace, *, workers: int) -> dict[str, Any]:
    """Run `data_tools prepare` as a user does, and look at what it wrote."""
    shards = Path(options.work) / "shards"
    size = size_of(Path(options.input))
    begun = time.perf_counter()
    arguments = [sys.executable, "-m", "data_tools", "prepare", "--input", options.input]
    arguments += ["--output", str(shards), "--tokenizer", options.tokenizer]
    arguments += ["--content-column", options.column, "--workers", str(workers)]
    subprocess.run(arguments, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    manifest = json.loads((shards / "manifest.json").read_text())
    tokens = sum(split["tokens"] for split in manifest["splits"].values())
    return rate(size, seconds) | {
        "tokens": tokens,
        "bytes_per_token": size_of(shards) / tokens,
        "peak_mb_of_largest_process": peak_of_children_mb(),
        "workers": workers,
    }


ARMS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    name.removeprefix("arm_"): act for name, act in list(globals().items()) if name[:4] == "arm_"
}


def copy_corpus(files: list[Path], target: Path, copies: int, column: str) -> None:
    """Repeat the files; each copy marks its documents, so that none repeats an earlier one."""
    import csv

    csv.field_size_limit(1 << 30)
    for copy in range(copies):
        for number, path in enumerate(files):
            out = target / f"{copy:03d}" / f"{number:04d}.csv"
            out.parent.mkdir(parents=True, exist_ok=True)
            if copy == 0:
                shutil.copyfile(path, out)
                continue
            with (
                path.open(encoding="utf-8-sig", newline="") as old,
                out.open("w", encoding="utf-8", newline="") as new,
            ):
                rows = csv.reader(old)
                writer = csv.writer(new)
                header = next(rows)
                writer.writerow(header)
                place = header.index(column)
                for row in rows:
                    row[place] = f"第{copy}册。{row[place]}"
                    writer.writerow(row)


def take_sample(files: list[Path], target: Path, size: float) -> None:
    """Take some lines' worth of each file, so that the sample is of all kinds."""
    import csv

    csv.field_size_limit(1 << 30)
    total = sum(path.stat().st_size for path in files)
    target.mkdir(parents=True)
    for number, path in enumerate(files):
        budget = size * path.stat().st_size / total
        with (
            path.open(encoding="utf-8-sig", newline="") as old,
            (target / f"{number:04d}.csv").open("w", encoding="utf-8", newline="") as new,
        ):
            writer = csv.writer(new)
            for row in csv.reader(old):
                writer.writerow(row)
                if new.tell() > budget:
                    break


def documents(options: argparse.Namespace) -> list[str]:
    """Read the texts of the input into memory."""
    import csv

    csv.field_size_limit(1 << 30)
    texts = []
    for path in sorted(Path(options.input).rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts += [row[options.column] for row in csv.DictReader(file)]
    return texts


def hugging_face(name: str) -> Any:
    """Return the plain Hugging Face tokenizer of the same vocabulary."""
    from gpt2zh.text.tokenizer import load_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        load_tokenizer(name).save(Path(folder))
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def rate(size: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one arm."""
    return {"mb": size / 1e6, "seconds": seconds, "mb_per_s": size / 1e6 / seconds}


def ratios(arms: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return what the issue of speed is about."""

    def speed(name: str, key: str = "mb_per_s") -> float:
        return arms[name][key]

    return {
        "prepare / datasets": speed("prepare") / speed("datasets"),
        "encode cold / encode_batch": speed("encode") / speed("encode_batch"),
        "encode warm / encode_batch": speed("encode", "warm_mb_per_s") / speed("encode_batch"),
        "prepare xN / prepare": speed("prepare_n") / speed("prepare"),
        "parse / prepare": speed("parse") / speed("prepare"),
    }


def print_table(report: dict[str, Any]) -> None:
    """Print arms and ratios."""
    for name, figures in report["arms"].items():
        rest = {k: round(v, 3) for k, v in figures.items() if k not in ("mb_per_s", "mb")}
        print(f"{name:<14}{figures['mb_per_s']:>9.1f} MB/s of {figures['mb']:.0f} MB  {rest}")
    for name, ratio in report["ratios"].items():
        print(f"{name:<30}{ratio:>8.2f}")


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def peak_of_children_mb() -> float:
    """Return the largest resident size of any process that was waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3


def describe_machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    import numpy
    import pyarrow
    import tokenizers

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "numpy": numpy.__version__,
        "pyarrow": pyarrow.__version__,
        "tokenizers": tokenizers.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
