"""Compare the ids of the compiled encoder with Hugging Face's, on documents of CSVs and on fuzz.

    python -m benchmarks.parity --input 'corpus/**/*.csv' --tokenizer vocab.txt --fuzz 200000

Ids are compared one by one, in batches, so any amount of text fits. Literal control tokens in a
text are text, as everywhere in this project. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.cli import Benchmark, Options, table
from benchmarks.harness.corpus import texts_of
from data_tools.sources.find import find_files
from gpt2zh.text.spans import make_encoder
from gpt2zh.text.tokenizer import load_tokenizer
from tests.support.parity import compare_all, fuzz

KINDS = ("documents", "fuzz")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--input", nargs="*", default=[], help="quoted globs of CSV files")
    parser.add_argument("--column", default="content", help="column of the text")
    parser.add_argument("--tokenizer", default="builtin", help="as for data_tools prepare")
    parser.add_argument("--fuzz", type=int, default=0, help="number of random strings")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random strings")


def measure(options: Options) -> dict[str, Any]:
    """Compare, and count."""
    tokenizer = load_tokenizer(options.tokenizer)
    files = find_files(options.input)
    encoder = make_encoder(tokenizer)
    vocabulary = list(tokenizer._backend.get_vocab(with_added_tokens=True))
    strings = islice(fuzz(options.seed, vocabulary), options.fuzz)
    return {
        "machine": machine.facts("tokenizers", "numba"),
        "tokenizer": options.tokenizer,
        "encoder": encoder.kind,
        "files": len(files),
        "documents": compare_all(encoder, tokenizer, texts_of(files, options.column)),
        "fuzz": compare_all(encoder, tokenizer, strings),
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the counts and the first differences."""
    columns = ("texts", "bytes", "tokens", "different", "first_difference")
    rows = [[kind, *(str(report[kind][c]) for c in columns)] for kind in KINDS]
    return (
        f"{machine.heading(report['machine'])}\nTokenizer {report['tokenizer']}, encoder "
        f"{report['encoder']}, {report['files']} files.\n\n{table(['', *columns], rows)}\n"
    )


def differs(report: dict[str, Any]) -> bool:
    """Return whether anything differs."""
    return any(report[kind]["different"] for kind in KINDS)


BENCHMARK = Benchmark(__doc__, add_options, measure, markdown, is_failure=differs)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
