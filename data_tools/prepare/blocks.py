"""Hold out parts of documents, where whole documents cannot give a validation split.

One novel, or a few, would fall into one split as a whole. Then the tokens of every document are cut
into blocks that fill a row, and about the wanted share of all blocks is held out, at least one. A
block is chosen by a hash of the text of its document and of its number, so the choice is a function
of the text alone. Neighbouring blocks of one split stay together as one part. Each part is counted
and packed as a document of its own, and ends with the end-of-document token.

Shapes: `n` documents, `p` parts, `t` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from data_tools.prepare.formats import DRAFT_TABLE, STAYS
from gpt2zh.data.arrow import arrow_column, numpy_column

_MIX = tuple(np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class BlockRule:
    """Which blocks are held out."""

    length: int
    """Tokens of a block."""
    threshold: int
    """Blocks with a hash up to this are held out."""

    def held_out(self, document: int, tokens: int) -> np.ndarray:
        """Return which blocks of a document are held out, (blocks,) bool.

        Args:
            document: Hash of its text.
            tokens: Tokens of it, without the end-of-document token.
        """
        return block_hashes(document, tokens, self.length) <= np.uint64(self.threshold)


@dataclass(frozen=True)
class Cutting:
    """What cutting needs besides the rule."""

    rule: BlockRule
    closing_id: int | None
    """The end-of-document token; None if documents have none."""
    decode: Callable[[np.ndarray], str]


def block_hashes(document: int, tokens: int, length: int) -> np.ndarray:
    """Return the hashes of the blocks of a document, (blocks,) uint64.

    The last block takes the rest, so each has at least `length` tokens, or the document is shorter.
    """
    numbers = np.arange(1, max(1, tokens // length) + 1, dtype=np.uint64)
    mixed = np.uint64(document) + numbers * _MIX[0]  # the generator splitmix64
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    return mixed ^ (mixed >> np.uint64(31))


def choose_rule(
    documents: Iterable[tuple[int, int]], length: int, fraction: float
) -> BlockRule | None:
    """Return the rule that holds out a share of all blocks, but not all of them.

    It is None if there is only one block, or if all blocks have the same hash.

    Args:
        documents: Hash and tokens of each, without the end-of-document token.
        length: Tokens of a block.
        fraction: The wanted share.
    """
    hashes = [block_hashes(document, tokens, length) for document, tokens in documents]
    every = np.sort(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
    allowed = every[every < every[-1]] if len(every) else every  # copies have equal hashes
    if not len(allowed):
        return None
    count = min(max(1, round(fraction * len(every))), len(allowed))
    return BlockRule(length, int(allowed[count - 1]))


@dataclass(frozen=True)
class Parts:
    """Documents of a draft, some of them cut."""

    table: pa.RecordBatch
    """(p,) lines of `DRAFT_TABLE`."""
    ids: np.ndarray
    """Tokens of the parts, one after the other."""
    documents: np.ndarray
    """(p,) int64, number of the document of each part."""


def cut_documents(
    batch: pa.RecordBatch, ids: np.ndarray, decision: np.ndarray, cutting: Cutting
) -> Parts:
    """Cut the documents that stay into parts for training and parts that are held out.

    The others remain whole, as training text; those that stay as a whole are among them.

    Args:
        batch: (n,) lines of `DRAFT_TABLE`.
        ids: (t,), their tokens.
        decision: (n,), about each document.
        cutting: How.
    """
    columns = {name: numpy_column(batch[name]) for name in DRAFT_TABLE.names}
    rows: list[tuple[int, ...]] = []
    tokens: list[np.ndarray] = []
    begin = 0
    for number, count in enumerate(columns["tokens"].tolist()):
        own = ids[begin : begin + count]
        begin += count
        if decision[number] != STAYS:
            rows.append((number, *(int(columns[n][number]) for n in _SHARED), count, 0))
            tokens.append(own)
            continue
        spans = _find_spans(int(columns["hash"][number]), own, cutting)
        pieces = [_close(own[b:e], cutting, is_last=e == spans[-1][1]) for b, e, _ in spans]
        characters = _share_characters(
            int(columns["characters"][number]), [own[b:e] for b, e, _ in spans], cutting
        )
        sizes = _share(int(columns["bytes"][number]), [e - b for b, e, _ in spans])
        for piece, size, signs, (_, _, is_held) in zip(
            pieces, sizes, characters, spans, strict=True
        ):
            rows.append((number, size, signs, len(piece), int(is_held)))
            tokens.append(piece)
    table = np.array(rows, np.int64).reshape(-1, 5)
    owner = table[:, 0]
    changed = dict(zip(("bytes", "characters", "tokens", "validation"), table.T[1:], strict=True))
    types = {name: columns[name].dtype for name in columns}
    arrays = [
        changed[name].astype(types[name]) if name in changed else columns[name][owner]
        for name in DRAFT_TABLE.names
    ]
    lines = pa.record_batch([arrow_column(array) for array in arrays], schema=DRAFT_TABLE)
    joined = np.concatenate(tokens) if tokens else ids
    return Parts(lines, joined, owner)


_SHARED = ("bytes", "characters")


def _find_spans(document: int, own: np.ndarray, cutting: Cutting) -> list[tuple[int, int, bool]]:
    """Return begin, end and whether it is held out of each part of a document, in tokens."""
    closed = int(cutting.closing_id is not None)
    count = len(own) - closed
    held = cutting.rule.held_out(document, count)
    edges = np.flatnonzero(held[1:] != held[:-1]) + 1
    firsts = [0, *edges.tolist()]
    ends = [*(edge * cutting.rule.length for edge in firsts[1:]), len(own)]
    return [
        (first * cutting.rule.length, end, bool(held[first]))
        for first, end in zip(firsts, ends, strict=True)
    ]


def _close(ids: np.ndarray, cutting: Cutting, *, is_last: bool) -> np.ndarray:
    """Return the tokens of a part with the end-of-document token; the last one has it already."""
    if is_last or cutting.closing_id is None:
        return ids
    return np.append(ids, ids.dtype.type(cutting.closing_id))


def _share_characters(total: int, pieces: list[np.ndarray], cutting: Cutting) -> list[int]:
    """Return the characters of each part: exact where the tokens decode to all characters."""
    if len(pieces) == 1:
        return [total]
    ends = [ids[:-1] if ids[-1] == cutting.closing_id else ids for ids in pieces]
    counts = [len(cutting.decode(ids)) for ids in ends]
    return counts if sum(counts) == total else _share(total, list(map(len, pieces)))


def _share(total: int, weights: list[int]) -> list[int]:
    """Divide a total in proportion to weights; the shares are whole and sum up to it."""
    if len(weights) == 1:
        return [total]  # its weight may be 0: a document without a token
    ends = np.cumsum(weights)
    marks = [0, *(total * int(end) // int(ends[-1]) for end in ends)]
    return [end - begin for begin, end in pairwise(marks)]
