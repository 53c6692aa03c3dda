"""What a recipe is worth: zero_nlp's beside ours, from text to bits per character of held-out text.

    python benchmarks/time_to_loss.py --input 'corpus/**/*.csv' --tokenizer vocab.txt \
        --preset small --tokens 400000000 --work work/ --json out.json     # on a GPU
    python benchmarks/time_to_loss.py --input 'corpus/**/*.csv' --tokenizer vocab.txt --jobs 2
    python benchmarks/time_to_loss.py --table out.json                      # the tables once more

Every arm is prepared and trained by the project's own commands, once with each seed:

* `seed`: configs/zero_nlp-3090.yaml with its packing, dropout 0.1, and its schedule scaled to the
  budget. `seed-lr` has our learning rate and warm-up, because the seed's were meant for a larger
  model and batch than the tiny preset; `seed-full` and `seed-dropout` differ in one thing, too.
* `ours`: the same tokenizer and batch; full packing, no dropout, tuned learning rate, decay to 0.
  `ours-half` and `ours-third` have that part of the budget, to which their schedule is scaled: the
  honest answer to "as good in a third of the time".
* `ours-muon` and `ours-muon-third`: the same with Muon. `ours-builtin`, `ours-builtin-third` and
  `ours-muon-builtin`: the lossless tokenizer, whose tokens are longer. `ours-lengths`: short
  sequences first.

All read the same text but for the held-out documents, and are scored on those: bits per character
of all tokens of their text, each predicted once, special tokens never. BERT's vocabulary does not
tell all characters apart, and what it loses costs nothing: compare arms of the same tokenizer.

Time is that of training alone: no validation, saving, start or compilation. All arms run on our
engine. What zero_nlp's software costs beside it is measured by benchmarks/throughput.py; whoever
multiplies the two has estimated, not measured. Seconds on a shared CPU are noisy, tokens are not.

A start with the same --work goes on where the last one ended. The default arms train 6.2 budgets
with each seed. Ours at `small` has values from publications; `--ours` tries others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from quality import arms, report  # noqa: E402
from quality.job import HELD_OUT, Job  # noqa: E402

OURS = "options of ours instead of the preset's, such as optimizer.lr=0.001"
JOB, TEXT = "job.json", "text.json"
PACKAGES = ("torch", "transformers", "deepspeed", "numpy")
# One thread a run; and memory once taken is kept, else a quarter of the time goes into getting the
# pages of the logits back from the system, step after step.
ON_CPU = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
}


def main() -> int:
    """Run the arms, or one of them in this process, or print tables."""
    options = parse()
    if options.child:
        return child(options)
    if options.table:
        print(report.markdown(json.loads(options.table.read_text("utf-8"))))
        return 0
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = compare(options, work.resolve())
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(report.markdown(found))
    return 0


def parse() -> argparse.Namespace:
    """The options; what is not given of the shape is the preset's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", nargs="+", default=[str(ROOT / "demo" / "corpus" / "**/*.csv")])
    parser.add_argument("--tokenizer", default="bert-base-chinese", help="with [CLS] and [SEP]")
    parser.add_argument("--preset", choices=sorted(arms.PRESETS), default="tiny")
    for name in ("layers", "heads", "width", "context", "rows", "tokens"):
        parser.add_argument(f"--{name}", type=int, help="instead of the preset's")
    parser.add_argument("--arms", nargs="+", choices=sorted(arms.ARMS), default=list(arms.MAIN))
    parser.add_argument("--ours", nargs="+", default=[], metavar="NAME=VALUE", help=OURS)
    parser.add_argument("--seeds", default="1,2", help="numbers with commas")
    parser.add_argument("--points", type=int, default=8, help="scores on the way of a run")
    parser.add_argument("--held-out", type=float, default=0.005, help="share of the documents")
    parser.add_argument("--held-out-characters", type=int, default=200_000, help="at most scored")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, for a CPU")
    parser.add_argument("--work", type=Path, help="folder for shards and runs; kept if given")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, run nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Prepare the text, make all runs that are not complete, and put their results together."""
    from gpt2zh.ranks.logs import quiet_libraries

    quiet_libraries()
    import torch
    from quality.runs import finished, same_command
    from speed.world import commit

    on_gpu = torch.cuda.is_available()
    job = settle(make_job(options, on_gpu=on_gpu), work)
    prepare_all(job, work, options.arms)
    pairs = [(name, int(seed)) for name in options.arms for seed in options.seeds.split(",")]
    for arm, seed in pairs:  # before hours are spent on the others
        if (run := finished(work, arm, seed)) and not same_command(run, job, work):
            raise SystemExit(f"{arm}, seed {seed}, was run with other options: take another --work")
    missing = [pair for pair in pairs if not finished(work, *pair)]
    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            list(pool.map(lambda pair: start(work, *pair, on_gpu=on_gpu), missing))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    runs = [found for pair in pairs if (found := finished(work, *pair))]
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine() + " CPU",
        "on_gpu": on_gpu,
        "cores": len(os.sched_getaffinity(0)),
        "jobs": options.jobs,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit(),
        "job": asdict(job),
        **json.loads((work / TEXT).read_text("utf-8")),
        "runs": runs,
    }


def make_job(options: argparse.Namespace, *, on_gpu: bool) -> Job:
    """The job that the options describe."""
    preset = arms.PRESETS[options.preset]
    shape = preset.model
    return Job(
        input=tuple(options.input),
        tokenizer=options.tokenizer,
        preset=options.preset,
        layers=options.layers or shape.layers,
        heads=options.heads or shape.heads,
        width=options.width or shape.width,
        context=options.context or shape.context,
        rows=options.rows or preset.rows,
        tokens=options.tokens or preset.tokens,
        points=options.points,
        held_out=options.held_out,
        held_out_characters=options.held_out_characters,
        on_gpu=on_gpu,
        ours=tuple(options.ours),
    )


def settle(job: Job, work: Path) -> Job:
    """Write the job into its folder, or see that it is the one that is there."""
    path = work / JOB
    work.mkdir(parents=True, exist_ok=True)
    if path.exists() and Job.read(path) != job:
        there, now = asdict(Job.read(path)), asdict(job)
        differ = ", ".join(f"{k} {there[k]} -> {now[k]}" for k in now if there[k] != now[k])
        raise SystemExit(f"{work} holds runs of another job ({differ}): take another --work")
    job.write(path)
    return job


def prepare_all(job: Job, work: Path, names: list[str]) -> None:
    """Make the shards of these arms, the held-out text, and what is to be told of both."""
    # The builtin tokenizer loses nothing, so the held-out text is read back from its shards.
    kinds = {"builtin-full", "given-full", *(arms.ARMS[name].data for name in names)}
    for kind in sorted(kinds):
        prepare(job, kind, job.data(work, kind))
    if not (work / TEXT).exists():
        (work / TEXT).write_text(json.dumps(describe(job, work), ensure_ascii=False), "utf-8")


def prepare(job: Job, kind: str, folder: Path) -> None:
    """Make one folder of shards, if it is not there."""
    if (folder / "manifest.json").exists():
        return
    tokenizer, _, packing = kind.partition("-")
    command = [
        *(sys.executable, "-m", "data_tools", "prepare", "--input", *job.input),
        f"--output={folder}",
        f"--tokenizer={job.tokenizer if tokenizer == 'given' else 'builtin'}",
        f"--packing={packing}",
        f"--row-length={job.context}",
        f"--validation-fraction={job.held_out}",
    ]
    if subprocess.run(command, cwd=Path.cwd(), stdout=sys.stderr).returncode:
        raise SystemExit(f"prepare failed: {' '.join(command[1:])}")


def describe(job: Job, work: Path) -> dict[str, Any]:
    """Choose and write the held-out text; facts of it and of the tokenizers on it."""
    from quality.held_out import all_texts, held_out_text, lost_share

    from gpt2zh.data.manifest import TOKENIZER_DIR, read_manifest
    from gpt2zh.text.tokenizer import load_tokenizer

    folders = {kind: job.data(work, f"{kind}-full") for kind in ("given", "builtin")}
    tokenizers = {name: load_tokenizer(path / TOKENIZER_DIR) for name, path in folders.items()}
    held_out = held_out_text(
        folders["builtin"],
        tokenizers["builtin"],
        tokenizers["given"],
        characters=job.held_out_characters,
        row_length=job.context,
    )
    texts = list(all_texts(held_out))
    if not texts:
        raise SystemExit("no document is held out: give a larger --held-out")
    held_out.write(work / HELD_OUT)
    characters = sum(map(len, texts))
    sources = read_manifest(folders["builtin"]).sources
    return {
        "text": {
            "megabytes": sum(source.bytes for source in sources) / 1e6,
            "files": len(sources),
            "documents": len(texts),
            "characters": characters,
            "long_share": sum(map(len, held_out.long)) / characters,
        },
        "tokenizers": {
            name: {
                "lost": lost_share(tokenizer, texts),
                "tokens_per_character": sum(map(len, tokenizer.encode_batch(texts))) / characters,
                "vocabulary": tokenizer.vocab_size,
            }
            for name, tokenizer in tokenizers.items()
        },
    }


def start(work: Path, name: str, seed: int, *, on_gpu: bool) -> None:
    """Make one run in a process of its own."""
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    environment = os.environ | ({} if on_gpu else ON_CPU)
    command = [sys.executable, __file__, f"--child={name}:{seed}", f"--work={work}"]
    log = work / "logs" / f"{name}-{seed}.txt"
    log.parent.mkdir(exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=file, env=environment).returncode
    if code:
        last = " | ".join(log.read_text("utf-8").strip().splitlines()[-3:])
        raise SystemExit(f"{name}, seed {seed}, failed: {last}; all of it is in {log}")


def child(options: argparse.Namespace) -> int:
    """Make one run in this process."""
    from gpt2zh.ranks.logs import quiet_libraries

    quiet_libraries()
    from quality.runs import run

    name, _, seed = options.child.partition(":")
    run(Job.read(options.work / JOB), options.work, name, int(seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
