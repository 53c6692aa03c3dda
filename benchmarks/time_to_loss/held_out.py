"""The held-out text, cut into windows, and how a model scores on it.

Every arm is scored on the same characters: documents that no arm trained on, because only the hash
of its text decides whether a document is held out. A window is the token with which a document of
this packing begins (zero_nlp: [CLS]; ours: the eos of the document before) and up to T-2 tokens of
text, as many as a row of zero_nlp holds. Each token of the text is a target exactly once, and no
other token is a target.

W windows, T tokens of a row.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.data.packing import unpack
from gpt2zh.data.shard import VALIDATION, ShardSet
from gpt2zh.model.loss import SummedLoss
from gpt2zh.model.shape import IGNORED
from gpt2zh.text.fidelity import RoundTrip
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_PIECE = 1000  # characters that are compared with their decoded tokens at once


def held_out_texts(shards: Path, *, characters: int) -> list[str]:
    """Read held-out documents back.

    Args:
        shards: Packed in full by a tokenizer that decodes every text exactly.
        characters: The most that is taken, from documents in random order.

    Raises:
        SystemExit: No document is held out.
    """
    tokenizer = load_tokenizer(shards / TOKENIZER_DIR)
    blocks = ShardSet.open(shards, VALIDATION).blocks
    documents = unpack(blocks, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    texts = [tokenizer.decode(ids) for ids in documents]
    random.Random(0).shuffle(texts)
    found = []
    for text in texts:
        if len(text) <= characters:
            characters -= len(text)
            found.append(text)
    if not found:
        raise SystemExit("error: no document is held out; give a larger --held-out")
    return found


def lost_share(tokenizer: TextTokenizer, texts: Sequence[str]) -> float:
    """Return the share of the characters that a tokenizer does not decode exactly."""
    trip = RoundTrip(tokenizer)
    parts = [text[i : i + _PIECE] for text in texts for i in range(0, len(text), _PIECE)]
    lost = sum(len(trip.compare(part, tokenizer.encode(part)).positions) for part in parts)
    return lost / sum(map(len, parts))


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
def bits_per_character(
    model: GPT2LMHeadModel,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    *,
    start: int,
    rows_at_once: int = 32,
) -> float:
    """Score a model, in evaluation mode, on texts; the rows are as long as its context.

    Args:
        model: On any device.
        tokenizer: Its own.
        texts: At least one.
        start: The token with which a document begins.
        rows_at_once: Windows of a forward pass.
    """
    rows, labels = windows(
        tokenizer.encode_batch(texts), start=start, row_length=model.config.n_positions
    )
    lengths = (labels != IGNORED).sum(1)
    summed_loss, nats = SummedLoss(model).eval(), 0.0
    for some in torch.argsort(lengths).split(rows_at_once):  # windows of similar length together
        part = slice(int(lengths[some].max()) + 1)
        ids, goals = rows[some, part].to(model.device), labels[some, part].to(model.device)
        nats += float(summed_loss(ids, goals))
    return nats / math.log(2) / sum(map(len, texts))
