"""The held-out text, cut into windows, and how a model scores on it.

Every arm is scored on the same characters: documents that no arm trained on, because only the hash
of its text decides whether a document is held out. A window is the token with which a document of
this packing begins (zero_nlp: [CLS]; ours: the eos of the document before) and up to T-2 tokens of
text, as many as a row of zero_nlp holds. Each token of the text is a target exactly once, and no
other token is a target.

W windows, T tokens of a row.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch

from gpt2zh.data.packing import unpack
from gpt2zh.data.shard import VALIDATION, ShardSet
from gpt2zh.model.loss import IGNORED
from gpt2zh.text.fidelity import RoundTrip
from gpt2zh.text.tokenizer import TextTokenizer

_PIECE = 1000  # characters that are compared with their decoded tokens at once


@dataclass(frozen=True)
class HeldOut:
    """Documents; those of which zero_nlp's packing keeps nothing are apart."""

    long: list[str]
    """With at least one whole chunk of zero_nlp."""
    short: list[str]
    """Dropped by that packing."""

    def write(self, path: Path) -> None:
        """Write it for the processes that score."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), "utf-8")

    @classmethod
    def read(cls, path: Path) -> HeldOut:
        """Read what `write` has written."""
        return cls(**json.loads(path.read_text("utf-8")))

    @property
    def kinds(self) -> dict[str, list[str]]:
        """The documents by kind."""
        return {"long": self.long, "short": self.short}


def held_out_text(
    shards: Path, lossless: TextTokenizer, judge: TextTokenizer, *, characters: int, row_length: int
) -> HeldOut:
    """Read held-out documents back.

    Args:
        shards: Packed in full by `lossless`.
        lossless: Decodes every text exactly.
        judge: Decides how many chunks a document has in zero_nlp's packing.
        characters: The most that is taken, from documents in random order.
        row_length: Tokens of a row.
    """
    blocks = ShardSet.open(shards, VALIDATION).blocks
    documents = unpack(blocks, eos_id=lossless.eos_id, pad_id=lossless.pad_id)
    texts = [lossless.decode(ids) for ids in documents]
    random.Random(0).shuffle(texts)
    found = HeldOut([], [])
    for text in texts:
        if len(text) <= characters:
            characters -= len(text)
            whole = len(judge.encode(text)) >= row_length - 2
            (found.long if whole else found.short).append(text)
    return found


def lost_share(tokenizer: TextTokenizer, texts: Sequence[str]) -> float:
    """Return the share of the characters that a tokenizer does not decode exactly."""
    trip, lost, total = RoundTrip(tokenizer), 0, 0
    for text in texts:
        for begin in range(0, len(text), _PIECE):
            part = text[begin : begin + _PIECE]
            lost += len(trip.compare(part, tokenizer.encode(part)).positions)
            total += len(part)
    return lost / total if total else 0.0


def windows(
    documents: Sequence[Sequence[int]], *, start: int, row_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut documents into rows and their labels, both (W, T-1).

    Args:
        documents: Their tokens, without special ones.
        start: The token with which a document begins.
        row_length: T of the rows of the training.
    """
    inner = row_length - 2
    parts = [ids[i : i + inner] for ids in documents for i in range(0, len(ids), inner)]
    rows = torch.full((len(parts), inner + 1), start)
    labels = torch.full((len(parts), inner + 1), IGNORED)
    for number, part in enumerate(parts):
        rows[number, 1 : len(part) + 1] = torch.tensor(part)
        labels[number, 1 : len(part) + 1] = torch.tensor(part)
    return rows, labels


@torch.no_grad()
def score(
    summed_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    texts: Sequence[str],
    tokenizer: TextTokenizer,
    *,
    start: int,
    row_length: int,
    rows_at_once: int,
) -> dict[str, float]:
    """Sum the loss of all tokens of some texts.

    Returns:
        `nats`, `tokens` and `characters`.
    """
    rows, labels = windows(tokenizer.encode_batch(texts), start=start, row_length=row_length)
    order = torch.argsort((labels != IGNORED).sum(1))  # windows of similar length together
    nats = 0.0
    for some in order.split(rows_at_once):
        width = int((labels[some] != IGNORED).sum(1).max()) + 1
        nats += float(summed_loss(rows[some, :width], labels[some, :width]))
    return {
        "nats": nats,
        "tokens": int((labels != IGNORED).sum()),
        "characters": sum(map(len, texts)),
    }


def bits_per_character(scores: Sequence[dict[str, float]]) -> float:
    """Return bits per character of several kinds of text together; nan if there is none."""
    nats, characters = (sum(s[name] for s in scores) for name in ("nats", "characters"))
    return nats / characters / math.log(2) if characters else math.nan


def all_texts(held_out: HeldOut) -> Iterator[str]:
    """Iterate over the documents of both kinds."""
    return chain(held_out.long, held_out.short)
