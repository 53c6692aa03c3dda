"""The choice of an encoder, and what all three promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity_cases import encode, fuzz
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from gpt2zh.text import fast_bpe, fast_wordpiece
from gpt2zh.text.spans import PlainEncoder, SpanEncoder, make_encoder
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

TEXTS = ["今天，hello！", "", "  \n", "龘 zzz 的", "", "[SEP]<eos>"]


@pytest.fixture(params=["wordpiece", "bpe", "plain"])
def tokenizer(request: pytest.FixtureRequest, tiny_vocab: Path, tmp_path: Path) -> TextTokenizer:
    """One tokenizer for each kind of encoder."""
    if request.param == "plain":
        return load_tokenizer(byte_level(tmp_path))
    return load_tokenizer("builtin" if request.param == "bpe" else tiny_vocab)


def byte_level(folder: Path) -> Path:
    backend = Tokenizer(
        models.BPE({c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.save(str(folder / "tokenizer.json"))
    return folder


def test_encoder_is_chosen_by_the_kind_of_tokenizer(
    tokenizer: TextTokenizer, request: pytest.FixtureRequest
) -> None:
    assert make_encoder(tokenizer).kind == request.node.callspec.params["tokenizer"]


def test_ids_are_those_of_the_tokenizer(tokenizer: TextTokenizer) -> None:
    texts = TEXTS + fuzz(tokenizer, 500)
    assert encode(make_encoder(tokenizer), texts) == tokenizer.encode_batch(texts)


def test_closing_id_is_put_behind_each_document(tokenizer: TextTokenizer) -> None:
    encoder = make_encoder(tokenizer)
    parts = [text.encode() for text in TEXTS]
    ends = np.cumsum([len(part) for part in parts])
    begins = np.append(0, ends[:-1])
    data = np.frombuffer(b"".join(parts), np.uint8)
    ids, counts = encoder.encode(data, begins, ends, closing_id=tokenizer.eos_id)
    expected = [[*part, tokenizer.eos_id] for part in tokenizer.encode_batch(TEXTS)]
    assert ids.tolist() == [number for part in expected for number in part]
    assert counts.tolist() == [len(part) for part in expected]
    assert ids.dtype == np.uint16 and counts.dtype == np.int64


def test_no_documents_have_no_ids(tokenizer: TextTokenizer) -> None:
    none = np.zeros(0, np.int64)
    ids, counts = make_encoder(tokenizer).encode(np.zeros(0, np.uint8), none, none, closing_id=1)
    assert len(ids) == len(counts) == 0
    assert ids.dtype == np.uint16


def test_bytes_between_documents_mean_nothing(tokenizer: TextTokenizer) -> None:
    encoder = make_encoder(tokenizer)
    parts = [b"\xe4\xb8", "今天".encode(), b"\xff\xf0\x9f", " 的\n".encode(), b"a", b"", b"\xf0"]
    stops = np.cumsum([len(part) for part in parts])
    data = np.frombuffer(b"".join(parts), np.uint8).copy()  # one that may be written to
    ids, counts = encoder.encode(data, stops[[0, 2, 4]], stops[[1, 3, 5]], closing_id=None)
    expected = tokenizer.encode_batch(["今天", " 的\n", ""])
    assert ids.tolist() == [number for part in expected for number in part]
    assert counts.tolist() == [len(part) for part in expected]


def test_documents_do_not_touch_one_another(tokenizer: TextTokenizer) -> None:
    encoder = make_encoder(tokenizer)
    texts = [*"a b\r\n的\u0301\u302e -- 12345"]
    assert encode(encoder, texts) == tokenizer.encode_batch(texts)


def test_more_tokens_than_expected_find_room(tokenizer: TextTokenizer) -> None:
    encoder = make_encoder(tokenizer)
    texts = [".,!" * 5000, "1 " * 5000, "\ue123" * 5000, "1 " * 5000]
    assert encode(encoder, texts) == tokenizer.encode_batch(texts)


def test_large_vocabulary_has_wide_ids(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(70_000)]
    lines = ["[UNK]", "[CLS]", "[SEP]", *words, "的"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", "utf-8")
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    encoder = make_encoder(tokenizer)
    assert encoder.kind == "wordpiece"
    data = np.frombuffer("的 w69999".encode(), np.uint8)
    ids, _ = encoder.encode(data, np.array([0]), np.array([len(data)]), closing_id=None)
    assert ids.dtype == np.uint32 and ids.tolist() == [70_003, 70_002]


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [("builtin", fast_bpe, "BpeEncoder"), ("tiny", fast_wordpiece, "WordPieceEncoder")],
)
def test_wrong_encoder_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tiny_vocab: Path, name: str, module: object, kind: str
) -> None:
    tokenizer = load_tokenizer(tiny_vocab if name == "tiny" else name)
    probe = getattr(module, kind)._probe

    def wrong(encoder: object, page: int) -> None:
        probe(encoder, page)
        encoder._table[ord("的")] = 0x7FFFFF

    assert make_encoder(tokenizer).kind != "plain"
    monkeypatch.setattr(getattr(module, kind), "_probe", wrong)
    encoder = make_encoder(tokenizer)
    assert encoder.kind == "plain" and not encoder.unknown
    assert encode(encoder, ["今天"]) == tokenizer.encode_batch(["今天"])


def test_choosing_counts_nothing_as_unknown(tiny_vocab: Path) -> None:
    assert not make_encoder(load_tokenizer(tiny_vocab)).unknown


def test_plain_and_compiled_count_the_same_unknown_texts(tiny_vocab: Path) -> None:
    tokenizer = load_tokenizer(tiny_vocab)
    encoders: list[SpanEncoder] = [make_encoder(tokenizer), PlainEncoder(tokenizer)]
    for encoder in encoders:
        encode(encoder, ["龘一龘 zzz 😀的，ａｂ", "", "zzz龘"])
    assert encoders[0].unknown == encoders[1].unknown == {"龘": 3, "zzz": 2, "😀": 1, "ａｂ": 1}
