"""`train-tokenizer`: from CSV files to a tokenizer folder."""

from __future__ import annotations

import heapq
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.config import TrainTokenizerConfig
from data_tools.output import new_folder
from data_tools.read import Document, check_headers, find_sources, open_source, read_rows
from data_tools.split import document_hash
from gpt2zh.config.errors import UserError
from gpt2zh.text.training import train_tokenizer


def run(config: TrainTokenizerConfig) -> None:
    """Train a tokenizer of the builtin kind and save it."""
    begun = time.monotonic()
    plan = [_parse_input(text, config.limit) for text in config.input]
    found = [(find_sources([pattern]), limit, pattern) for pattern, limit in plan]
    for sources, _, _ in found:
        check_headers(sources, config.content_column)
    with new_folder(config.output) as folder:
        texts: list[str] = []
        for sources, limit, pattern in found:
            sample = take_sample(_documents(sources, config.content_column), limit)
            characters = sum(map(len, sample))
            print(f"{pattern}: {len(sample)} documents, {characters} characters", file=sys.stderr)
            texts += sample
        if not texts:
            raise UserError("the inputs hold no text; give files with texts to learn from")
        tokenizer = train_tokenizer(
            texts,
            vocab_size=config.vocab_size,
            alphabet=config.alphabet,
            name=str(config.output),
        )
        tokenizer.save(folder)
    print(
        f"tokenizer   {tokenizer.vocab_size} ids, hash {tokenizer.hash[:16]}\n"
        f"time        {time.monotonic() - begun:.1f} s\n"
        f"output      {config.output}\n"
        f"next        python -m data_tools prepare --tokenizer {config.output} ..."
    )


def take_sample(documents: Iterator[Document], limit: int) -> list[str]:
    """Return the documents with the smallest hashes, at most `limit` characters of them.

    The sample depends on the texts alone, and no more than it is ever held in memory.
    """
    chosen: list[tuple[int, str]] = []
    size = 0
    for document in documents:
        heapq.heappush(chosen, (-document_hash(document.data), document.text))
        size += len(document.text)
        while size > limit:
            size -= len(heapq.heappop(chosen)[1])
    return [text for _, text in sorted(chosen, reverse=True)]


def _documents(sources: Sequence[Path], column: str) -> Iterator[Document]:
    for source in sources:
        with open_source(source) as stream:
            for row in read_rows(stream, column=column, source=source):
                if isinstance(row, Document) and row.text:
                    yield row


def _parse_input(text: str, limit: int) -> tuple[str, int]:
    """Split `GLOB@5000000` into the glob and its own limit."""
    match = re.fullmatch(r"(.+)@(\d+)", text)
    return (match[1], int(match[2])) if match and not Path(text).exists() else (text, limit)
