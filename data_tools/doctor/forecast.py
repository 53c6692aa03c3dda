"""Extrapolate the sample to the whole corpus: each group is scaled by its size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_tools.doctor.examine import Examination, FileGroup
from gpt2zh.plan.advise import advise
from gpt2zh.plan.machine import Machine
from gpt2zh.text.id_type import token_dtype

_TABLE_BYTES = 16  # per document in the table of documents: line, lengths, hash


@dataclass(frozen=True)
class Forecast:
    """Estimates of what a preparation gives."""

    documents: int
    characters: int
    tokens: int
    """Including the closing token of each document."""
    rows: int
    disk_bytes: int
    seconds: float
    """Seconds to read and encode, with `cores` cores."""
    cores: int
    config: str
    """The shipped config for so many rows on this machine."""
    global_batch: int
    """Rows of a step with that config."""
    steps: int
    """Steps of one epoch with it."""


@dataclass(frozen=True)
class Shares:
    """The counts as shares of all characters, tokens or documents, weighted by group size."""

    lost: float
    """Share of the characters that are not written back."""
    added: float
    """Characters written back that the text does not have, per character."""
    spelled: float
    """Share of the characters that are spelled in bytes; not weighted."""
    tokens_per_character: float
    partial: float
    """Share of the tokens that are a part of a character."""
    exact: float
    """Share of the documents that are written back exactly."""
    copies: float
    """Share of the documents that equal an earlier one."""
    damaged: float
    """Share of the documents with traces of a wrong decoding."""
    short: float
    """Share of the documents with fewer than `SHORT` characters."""
    row_filling: float
    """Share of the documents that are at least as long as a row."""


SHORT = 10
"""A document with fewer characters than this is called short."""


def make_forecast(
    found: Examination, *, row_length: int, vocab_size: int, seconds: float, machine: Machine
) -> Forecast:
    """Extrapolate from the sample to the whole corpus.

    Args:
        found: The counts of the sample.
        row_length: Tokens of a row.
        vocab_size: Number of ids of the tokenizer; decides the bytes of a token on the disk.
        seconds: Seconds that one core needs to read and encode the sample.
        machine: Where the preparation and the training will run.
    """
    documents = count_documents(found)
    tokens = total(found, tokens_of) + documents
    rows = math.ceil(tokens / row_length)
    read = sum(group.read for group in found.groups)
    size = sum(group.bytes for group in found.groups)
    advice = advise(max(rows, 1), machine, row_length=row_length, tokens=vocab_size)
    cores, global_batch = machine.cores, min(advice.config.global_batch, max(rows, 1))
    bytes_per_token = np.dtype(token_dtype(vocab_size)).itemsize
    return Forecast(
        documents=round(documents),
        characters=round(total(found, characters_of)),
        tokens=round(tokens),
        rows=rows,
        disk_bytes=round(rows * row_length * bytes_per_token + documents * _TABLE_BYTES),
        seconds=seconds * size / max(read, 1.0) / cores,
        cores=cores,
        config=advice.config.name,
        global_batch=global_batch,
        steps=math.ceil(rows / global_batch),
    )


def compute_shares(found: Examination, row_length: int) -> Shares:
    """Return the shares over all groups."""
    documents = max(total(found, documents_of), 1e-9)
    characters = max(total(found, characters_of), 1e-9)
    tokens = max(total(found, tokens_of), 1e-9)
    seen = max(sum(characters_of(group) for group in found.groups), 1)

    def per_document(count: Callable[[FileGroup], float]) -> float:
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
        short=per_document(lambda group: _count_where(group.characters, lambda n: n < SHORT)),
        row_filling=per_document(
            lambda group: _count_where(group.tokens, lambda n: n >= row_length)
        ),
    )


def total(found: Examination, count: Callable[[FileGroup], float]) -> float:
    """Return the sum of a count over all groups, each scaled to its whole size.

    Groups without a sample, which happens with very many files, are assumed to be average.
    """
    size = sum(group.bytes for group in found.groups)
    known = sum(group.bytes for group in found.groups if group.read)
    return sum(count(group) * group.scale for group in found.groups) * size / max(known, 1)


def count_documents(found: Examination) -> float:
    """Return the documents of the whole corpus; where each file is one, the files are counted."""
    sampled = sum(group.sampled for group in found.groups)
    if sum(group.records for group in found.groups) != sampled or sampled < 2:
        return total(found, documents_of)
    files = sum(group.files for group in found.groups)
    return sum(map(documents_of, found.groups)) * files / sampled


def documents_of(group: FileGroup) -> int:
    """Return the number of documents in the sample of a group."""
    return sum(map(len, group.characters))


def characters_of(group: FileGroup) -> int:
    """Return the number of characters in the sample of a group."""
    return sum(int(part.sum()) for part in group.characters)


def tokens_of(group: FileGroup) -> int:
    """Return the number of tokens in the sample of a group."""
    return sum(int(part.sum()) for part in group.tokens)


def _count_where(parts: list[np.ndarray], condition: Callable[[np.ndarray], np.ndarray]) -> int:
    return sum(int(condition(part).sum()) for part in parts)
