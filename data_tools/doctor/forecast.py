"""From the sample to the whole corpus: every group counts as often as its sample goes into it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_tools.doctor.examine import Examination, Group
from gpt2zh.config.schema import TrainConfig
from gpt2zh.text.id_type import token_dtype

_TABLE_BYTES = 16  # per document, of the table of documents: line, lengths, hash


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of a preparation; estimates, all of them."""

    documents: int
    characters: int
    tokens: int
    """With one more for each document, which closes it."""
    rows: int
    disk_bytes: int
    seconds: float
    """To read and encode, with all cores of this machine."""
    cores: int
    global_batch: int
    steps: int
    """Of one epoch, with the default global batch."""


@dataclass(frozen=True)
class Shares:
    """What was counted, as shares of all characters or documents; groups weigh by their size."""

    lost: float
    added: float
    spelled: float
    """Of the characters, those spelled in bytes; unweighted."""
    tokens_per_character: float
    partial: float
    """Of the tokens, those that are a part of a character."""
    exact: float
    copies: float
    damaged: float
    short: float
    """Documents below ten characters."""
    row_filling: float
    """Documents at least as long as a row."""


SHORT = 10
"""Characters below which a document is called short."""


def forecast(
    found: Examination, *, row_length: int, vocab_size: int, seconds: float, cores: int
) -> Forecast:
    """Extrapolate.

    Args:
        found: What was counted.
        row_length: Tokens of a row.
        vocab_size: Ids of the tokenizer, which decide on the bytes of a token.
        seconds: Of one core, for reading and encoding the sample.
        cores: How many will work.
    """
    documents = total(found, documents_of)
    tokens = total(found, tokens_of) + documents
    rows = math.ceil(tokens / row_length)
    read = sum(group.read for group in found.groups)
    size = sum(group.bytes for group in found.groups)
    global_batch = TrainConfig().global_batch
    bytes_per_token = np.dtype(token_dtype(vocab_size)).itemsize
    return Forecast(
        documents=round(documents),
        characters=round(total(found, characters_of)),
        tokens=round(tokens),
        rows=rows,
        disk_bytes=round(rows * row_length * bytes_per_token + documents * _TABLE_BYTES),
        seconds=seconds * size / max(read, 1.0) / cores,
        cores=cores,
        global_batch=global_batch,
        steps=math.ceil(rows / global_batch),
    )


def shares(found: Examination, row_length: int) -> Shares:
    """Return the shares over all groups."""
    documents = max(total(found, documents_of), 1e-9)
    characters = max(total(found, characters_of), 1e-9)
    tokens = max(total(found, tokens_of), 1e-9)
    seen = max(sum(characters_of(group) for group in found.groups), 1)

    def per_document(count: Callable[[Group], float]) -> float:
        return total(found, count) / documents

    return Shares(
        lost=total(found, lambda group: group.lost.total()) / characters,
        added=total(found, lambda group: group.added) / characters,
        spelled=found.spelled.total() / seen,
        tokens_per_character=tokens / characters,
        partial=total(found, lambda group: group.partial) / tokens,
        exact=per_document(lambda group: group.exact),
        copies=per_document(lambda group: group.copies),
        damaged=per_document(lambda group: group.damaged),
        short=per_document(lambda group: _count(group.characters, lambda n: n < SHORT)),
        row_filling=per_document(lambda group: _count(group.tokens, lambda n: n >= row_length)),
    )


def total(found: Examination, count: Callable[[Group], float]) -> float:
    """Add up a count over the groups, each scaled to its whole size.

    Groups of which nothing was read, since the files are very many, are taken for average ones.
    """
    size = sum(group.bytes for group in found.groups)
    known = sum(group.bytes for group in found.groups if group.read)
    return sum(count(group) * group.scale for group in found.groups) * size / max(known, 1)


def documents_of(group: Group) -> int:
    """Return the documents in the sample of a group."""
    return sum(map(len, group.characters))


def characters_of(group: Group) -> int:
    """Return the characters in the sample of a group."""
    return sum(int(part.sum()) for part in group.characters)


def tokens_of(group: Group) -> int:
    """Return the tokens in the sample of a group."""
    return sum(int(part.sum()) for part in group.tokens)


def _count(parts: list[np.ndarray], condition: Callable[[np.ndarray], np.ndarray]) -> int:
    return sum(int(condition(part).sum()) for part in parts)
