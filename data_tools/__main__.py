"""`python -m data_tools <verb>`: all commands that make data; none of them needs torch."""

from __future__ import annotations

import sys

from data_tools.config import (
    CatConfig,
    FinishConfig,
    PrepareConfig,
    TrainTokenizerConfig,
    VerifyConfig,
)
from data_tools.doctor.options import DoctorConfig
from data_tools.report.options import ReportConfig
from gpt2zh.config.verbs import Verb, run_verbs

VERBS = (
    Verb(
        name="prepare",
        config=PrepareConfig,
        run="data_tools.prepare.run:run",
        summary="convert text files to packed shards of token ids",
        goes_on=True,
    ),
    Verb(
        name="finish",
        config=FinishConfig,
        run="data_tools.prepare.run:finish",
        summary="join the parts that `prepare --part I --parts N` made",
        positional="shards",
        goes_on=True,
    ),
    Verb(
        name="doctor",
        config=DoctorConfig,
        run="data_tools.doctor.run:run",
        summary="examine a sample before a long preparation; repair a BERT vocabulary",
    ),
    Verb(
        name="report",
        config=ReportConfig,
        run="data_tools.report.run:run",
        summary="account for every byte of the input, in text and on a page with plots",
        positional="shards",
    ),
    Verb(
        name="cat",
        config=CatConfig,
        run="data_tools.cat:run",
        summary="show a row as text, with the file and line of each document",
        positional="shards",
    ),
    Verb(
        name="train-tokenizer",
        config=TrainTokenizerConfig,
        run="data_tools.train_tokenizer:run",
        summary="train a lossless tokenizer on your own files",
        goes_on=True,
    ),
    Verb(
        name="verify",
        config=VerifyConfig,
        run="data_tools.verify:run",
        summary="check every file of a folder of shards against its sha256",
        positional="shards",
    ),
)


def main() -> int:
    """Run the verb on the command line and return the exit code."""
    return run_verbs(
        prog="python -m data_tools",
        description="Prepare Chinese text for training.",
        verbs=VERBS,
    )


if __name__ == "__main__":
    sys.exit(main())
