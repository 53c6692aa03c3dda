"""`train-tokenizer`: train a tokenizer on text files and write its folder."""

from __future__ import annotations

import heapq
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data_tools.config import TrainTokenizerConfig
from data_tools.shards.output import new_folder
from data_tools.shards.split import document_hash
from data_tools.sources.block import SetAside
from data_tools.sources.casualties import describe_all, find_first
from data_tools.sources.cut import cut
from data_tools.sources.find import SourceFile, find_files, inspect_all
from data_tools.sources.read import SliceReader
from gpt2zh.config.errors import UserError
from gpt2zh.text.training import train_tokenizer

_ASIDE_KEPT = 100_000  # records set aside that are counted for the message about no text


def run(config: TrainTokenizerConfig) -> None:
    """Train a tokenizer of the builtin kind and save it."""
    begun = time.monotonic()
    aside: list[tuple[str, SetAside]] = []
    plan = [_parse_input(text, config.limit) for text in config.input]
    found = [
        (inspect_all(find_files([pattern]), config), limit, pattern) for pattern, limit in plan
    ]
    with new_folder(config.output) as folder:
        texts: list[str] = []
        for sources, limit, pattern in found:
            sample = take_sample(_documents(sources, config, aside), limit)
            characters = sum(map(len, sample))
            print(f"{pattern}: {len(sample)} documents, {characters} characters", file=sys.stderr)
            texts += sample
        if not texts:
            raise UserError(
                "the inputs hold no text; give files with text to train on"
                + describe_all(find_first(aside))
            )
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


def take_sample(documents: Iterable[str], limit: int) -> list[str]:
    """Return the documents with the smallest hashes, at most `limit` characters of them.

    The sample depends on the texts alone, and only the sample is held in memory.
    """
    chosen: list[tuple[int, str]] = []
    size = 0
    for text in documents:
        heapq.heappush(chosen, (-document_hash(text.encode()), text))
        size += len(text)
        while size > limit:
            size -= len(heapq.heappop(chosen)[1])
    return [text for _, text in sorted(chosen, reverse=True)]


def _documents(
    sources: Sequence[SourceFile],
    config: TrainTokenizerConfig,
    aside: list[tuple[str, SetAside]],
) -> Iterator[str]:
    """Yield the texts, and add the records set aside to `aside`, as far as it has room."""
    for source in sources:
        for part in cut(source, config, sys.maxsize):
            for block in SliceReader(source, part, config):
                if len(aside) < _ASIDE_KEPT:
                    aside += ((source.path.as_posix(), item) for item in block.set_aside)
                yield from filter(None, block.texts())


def _parse_input(text: str, limit: int) -> tuple[str, int]:
    """Split `GLOB@5000000` into the glob and its own limit."""
    match = re.fullmatch(r"(.+)@(\d+)", text)
    return (match[1], int(match[2])) if match and not Path(text).exists() else (text, limit)
