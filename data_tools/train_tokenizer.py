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
from data_tools.sources.block import Block, SetAside
from data_tools.sources.casualties import describe_all, find_first
from data_tools.sources.cut import cut
from data_tools.sources.find import SourceFile, find_files, inspect_all
from data_tools.sources.read import SliceReader
from data_tools.sources.stream import DAMAGED
from gpt2zh.config.errors import UserError, printable, raise_all
from gpt2zh.pages.console import Progress, command
from gpt2zh.pages.numbers import plural
from gpt2zh.text.training import train_tokenizer

_ASIDE_KEPT = 100_000  # records set aside that are counted for the message about no text


def run(config: TrainTokenizerConfig) -> None:
    """Train a tokenizer of the builtin kind and save it.

    Raises:
        UserError: A limit is not positive, or the inputs hold no text.
    """
    begun = time.monotonic()
    plan = [_parse_input(text, config.limit) for text in config.input]
    raise_all([*_limit_faults(config, plan)], "the limits")
    found = [
        (inspect_all(find_files([pattern]), config), limit, pattern) for pattern, limit in plan
    ]
    with new_folder(config.output) as folder:
        texts: list[str] = []
        size = sum(source.bytes for sources, _, _ in found for source in sources)
        reading = _Reading(config, Progress("reading", size))
        for sources, limit, pattern in found:
            sample = take_sample(reading.documents(sources), limit)
            characters = plural(sum(map(len, sample)), "character")
            reading.progress.close()
            documents = plural(len(sample), "document")
            print(printable(f"{pattern}: {documents}, {characters}"), file=sys.stderr)
            texts += sample
        if not texts:
            raise UserError(
                "the inputs hold no text; give files with text to train on"
                + describe_all(find_first(reading.aside))
            )
        tokenizer = train_tokenizer(
            texts,
            vocab_size=config.vocab_size,
            alphabet=config.alphabet,
            name=str(config.output),
            show_progress=sys.stderr.isatty(),
        )
        tokenizer.save(folder)
    text = (
        f"tokenizer   {tokenizer.vocab_size} ids, hash {tokenizer.hash[:16]}\n"
        f"time        {time.monotonic() - begun:.1f} s\n"
        f"output      {config.output}\n"
        f"next        python -m data_tools prepare {command('--tokenizer', config.output)} ..."
    )
    print(printable(text))


def take_sample(documents: Iterable[str], limit: int) -> list[str]:
    """Return the documents with the smallest hashes, at most `limit` characters of them.

    The last document is cut to what is left of the limit. So a text that is longer than the limit
    is not lost, and the sample depends on the texts alone, not on their order. Only the sample is
    held in memory.
    """
    chosen: list[tuple[int, str]] = []
    size = 0
    for text in documents:
        heapq.heappush(chosen, (-document_hash(text.encode()), text))
        size += len(text)
        # Once the limit is reached, what remains always reaches it, so a document that goes can
        # never be needed later.
        while size - len(chosen[0][1]) >= limit:
            size -= len(heapq.heappop(chosen)[1])
    sample = [text for _, text in sorted(chosen, reverse=True)]
    if size > limit:
        sample[-1] = sample[-1][: limit - size]
    return sample


class _Reading:
    """Reads all sources, with a line of progress."""

    def __init__(self, config: TrainTokenizerConfig, progress: Progress) -> None:
        self.progress = progress
        self.aside: list[tuple[str, SetAside]] = []
        """Path and record that was set aside, as many as are counted for a message."""
        self._config = config
        self._done = 0  # bytes of the sources that were read whole

    def documents(self, sources: Sequence[SourceFile]) -> Iterator[str]:
        for source in sources:
            for part in cut(source, self._config, sys.maxsize):
                reader = SliceReader(source, part, self._config)
                for block in reader:
                    self._note(source, block)
                    yield from filter(None, block.texts())
                    self.progress.show(self._done + part.begin + reader.position)
            self._done += source.bytes

    def _note(self, source: SourceFile, block: Block) -> None:
        if len(self.aside) < _ASIDE_KEPT:
            self.aside += ((source.path.as_posix(), item) for item in block.set_aside)
        for item in block.set_aside:
            if item.reason == DAMAGED:
                what = f"warning: {source.path} is damaged, its rest is left out"
                print(printable(f"{what} ({item.detail})"), file=sys.stderr)


def _parse_input(text: str, limit: int) -> tuple[str, int]:
    """Split `GLOB@5000000` into the glob and its own limit."""
    match = re.fullmatch(r"(.+)@(\d+)", text)
    return (match[1], int(match[2])) if match and not Path(text).exists() else (text, limit)


def _limit_faults(config: TrainTokenizerConfig, plan: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Yield what is wrong with the limits."""
    if config.limit < 1:
        yield f"--limit is {config.limit}, must be at least 1 character"
    for (pattern, limit), text in zip(plan, config.input, strict=True):
        if limit < 1 and text != pattern:
            yield f"--input {text} limits {pattern} to {limit} characters, must be at least 1"
