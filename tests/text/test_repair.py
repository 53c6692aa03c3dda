"""A repaired BERT vocabulary: no id moves, every text comes back, Chinese is encoded as before."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.text.repair import repair
from gpt2zh.text.spans import make_encoder
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

from .conftest import TINY

ROOT = Path(__file__).parents[2]

TEXTS = (
    "今天你好，。！",
    "Hello WORLD, hello world  tokenizer 2018",
    "第一行\n第二行，“引号”和‘单引号’…—\n\n\n  两个空格　　全角",
    "## a##b #### ##a a## <0x41> <0xE4><0xBD> [UNK] [SEP] <eos> <bos>##",
    "龘䶮😀👩\u200d👩\u200d👧 ＡＢＣ café cafe\u0301 がか\u304b\u3099 한국",
    "a\tb\r\nc\rd\x00\x01\x7f\x85\u2028\u200b\ufeff\ue000\ufffd\U0010ffff",
    " ",
    "",
)


@pytest.fixture
def tiny(tiny_vocab: Path) -> TextTokenizer:
    return load_tokenizer(tiny_vocab)


@pytest.fixture
def repaired(tiny: TextTokenizer) -> TextTokenizer:
    return repair(tiny, name="repaired").tokenizer


@pytest.fixture(scope="session")
def real(bert_vocab: Path) -> TextTokenizer:
    return load_tokenizer(bert_vocab)


@pytest.fixture(scope="session")
def real_repaired(real: TextTokenizer) -> TextTokenizer:
    return repair(real, name="repaired").tokenizer


def fuzzed(count: int) -> Iterator[str]:
    """Yield texts of all that is awkward, and of any code points but surrogates."""
    rng = random.Random(5)
    signs = "今天的一a##bAHello<0x4E>[UNK]eos \n\r\t…—“”　é龘が한Ａ\x00\ue000😀\u200d\u0301①≠★"
    for _ in range(count):
        yield "".join(rng.choices(signs, k=rng.randrange(40)))
        ranges = ((0, 0x300), (0, 0xD800), (0x4E00, 0xA000), (0xE000, 0x110000))
        yield "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(40)))


def check_lossless(tokenizer: TextTokenizer, texts: list[str]) -> None:
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.decode(ids) == text


def test_every_text_comes_back(repaired: TextTokenizer) -> None:
    check_lossless(repaired, [*TEXTS, *fuzzed(2000)])


def test_every_text_comes_back_with_the_real_vocabulary(real_repaired: TextTokenizer) -> None:
    check_lossless(real_repaired, [*TEXTS, *fuzzed(2000)])


def test_every_character_comes_back_at_every_place_of_a_word(repaired: TextTokenizer) -> None:
    signs = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000][::37]
    check_lossless(repaired, [f"{sign}a{sign}{sign}b今{sign}" for sign in signs])


def test_the_demo_corpus_comes_back(repaired: TextTokenizer) -> None:
    texts = []
    for path in sorted((ROOT / "demo/corpus").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [row["content"] for row in csv.DictReader(file)]
    assert len(texts) > 100
    check_lossless(repaired, texts)


def test_no_id_moves(tiny: TextTokenizer, repaired: TextTokenizer) -> None:
    for number, token in enumerate([*TINY, "<bos>", "<eos>", "<pad>"]):
        assert repaired._backend.id_to_token(number) == token
    assert repaired.control == tiny.control
    assert (repaired.bos_id, repaired.eos_id, repaired.pad_id) == (
        tiny.bos_id,
        tiny.eos_id,
        tiny.pad_id,
    )


def test_what_is_missing_gets_ids_behind_the_old_ones(
    tiny: TextTokenizer, repaired: TextTokenizer
) -> None:
    for sign in "“”‘’…— \n\t\rAZ　龙卣":
        ids = repaired.encode(sign)
        assert len(ids) == 1 and ids[0] >= tiny.vocab_size
    ids = {number for text in TEXTS for number in repaired.encode(text)}
    assert max(ids) < repaired.vocab_size
    assert repaired.vocab_size == len(repaired._backend.get_vocab(with_added_tokens=True))


def test_doubled_dashes_and_dots_are_one_token(repaired: TextTokenizer) -> None:
    assert [len(repaired.encode(run)) for run in ("——", "……", "\u3000\u3000", "    ")] == [1] * 4


def test_what_the_texts_use_often_gets_an_id(tiny: TextTokenizer) -> None:
    made = repair(tiny, ["龘" * 50, "䶮"], name="repaired")
    assert "龘" in made.characters and "䶮" not in made.characters
    assert len(made.tokenizer.encode("龘")) == 1 and len(made.tokenizer.encode("䶮")) == 3
    assert made.tokens == made.tokenizer.vocab_size - tiny.vocab_size


def test_chinese_digits_and_punctuation_keep_their_ids(
    tiny: TextTokenizer, repaired: TextTokenizer
) -> None:
    for text in ("今天，你好！", "一是[天]<今>/你?", "1", "9天", "(的)."):
        assert repaired.encode(text) == tiny.encode(text)


def test_every_character_of_the_real_vocabulary_keeps_its_id(
    real: TextTokenizer, real_repaired: TextTokenizer
) -> None:
    vocab = real._backend.get_vocab()
    signs = [sign for sign in vocab if len(sign) == 1 and real.encode(sign) == [vocab[sign]]]
    assert len(signs) > 7900 and {"的", "0", "，", "。", "?", "z", "①"} <= set(signs)
    assert all(real_repaired.encode(sign) == [vocab[sign]] for sign in signs)
    text = "".join(sign for sign in signs if "\u4e00" <= sign < "\u9fff")
    assert real_repaired.encode(text) == real.encode(text)


def test_each_old_token_is_written_as_the_text_it_stands_for(
    real: TextTokenizer, real_repaired: TextTokenizer
) -> None:
    """Also those that no text is encoded to, such as `###`, which a model may still choose."""
    for token, number in real._backend.get_vocab(with_added_tokens=False).items():
        if real._backend.get_added_tokens_decoder().get(number) is None:
            body = token[2:] if token.startswith("##") else token
            assert real_repaired.decode([number]) == body


def test_whole_words_and_years_keep_their_ids(
    real: TextTokenizer, real_repaired: TextTokenizer
) -> None:
    for text in ("hello", "2018年10月", "iphone", "app", "して", "10℃", "★★★", "中文abc中文"):
        assert real_repaired.encode(text) == real.encode(text)


def test_most_words_of_the_real_vocabulary_are_cut_alike(
    real: TextTokenizer, real_repaired: TextTokenizer
) -> None:
    """Every token that a merge can reach: the promise about Latin words is not an empty one."""
    inside = [token[2:] for token in real._backend.get_vocab() if token.startswith("##")]
    words = [f"a{rest}" for rest in inside if rest.isascii() and rest.isalnum()]
    alike = sum(map(lambda w: real.encode(w) == real_repaired.encode(w), words))
    assert alike / len(words) > 0.6


def test_pieces_inside_a_word_are_merged_again(
    tiny: TextTokenizer, repaired: TextTokenizer
) -> None:
    vocab = tiny._backend.get_vocab()
    assert repaired.encode("hello world") == [
        vocab["hello"],
        repaired.encode(" ")[0],
        vocab["world"],
    ]
    assert repaired.encode("ab") == tiny.encode("ab") == [vocab["a"], vocab["##b"]]


def test_capitals_are_kept_as_letters(repaired: TextTokenizer) -> None:
    assert repaired.decode(repaired.encode("HELLO hellO")) == "HELLO hellO"
    assert repaired.encode("HELLO") != repaired.encode("hello")


@pytest.mark.parametrize("literal", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "<eos>", "<pad>"])
def test_a_text_cannot_forge_a_control_token(repaired: TextTokenizer, literal: str) -> None:
    control = {repaired.bos_id, repaired.eos_id, repaired.pad_id, 0, 1, 2, 3, 4}
    assert not control & set(repaired.encode(f"今天{literal}好 {literal}"))


def test_a_long_text_is_encoded_like_its_whole(repaired: TextTokenizer) -> None:
    text = "今天hello。\n你好——world\n" * 40_000
    assert repaired.encode(text) == repaired._encode([text])[0]


def test_saved_folder_loads_here_and_in_transformers(
    repaired: TextTokenizer, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    repaired.save(tmp_path / "out")
    again = load_tokenizer(tmp_path / "out")
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.hash == repaired.hash and again.control == repaired.control
    assert len(auto) == again.vocab_size
    for text in [*TEXTS, *fuzzed(200)]:
        ids = repaired.encode(text)
        assert again.encode(text) == ids
        assert auto(text, split_special_tokens=True)["input_ids"] == ids
        assert auto.decode(ids, skip_special_tokens=True) == text
    assert (auto.bos_token_id, auto.eos_token_id, auto.pad_token_id, auto.unk_token_id) == (
        repaired.bos_id,
        repaired.eos_id,
        repaired.pad_id,
        1,
    )


def test_a_cased_vocabulary_is_repaired_too(tiny_vocab: Path) -> None:
    (tiny_vocab.parent / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    cased = load_tokenizer(tiny_vocab.parent)
    made = repair(cased, name="repaired").tokenizer
    assert made.encode("Hello") == cased.encode("Hello") == [TINY.index("Hello")]
    check_lossless(made, [*TEXTS, *fuzzed(200)])


def test_equal_vocabularies_give_equal_repairs(tiny_vocab: Path) -> None:
    made = [repair(load_tokenizer(tiny_vocab), ["龘" * 50], name="x") for _ in range(2)]
    assert made[0].tokenizer.hash == made[1].tokenizer.hash


def test_other_kinds_of_vocabulary_are_refused() -> None:
    with pytest.raises(UserError, match=r"builtin cannot be repaired.* is BPE.*train-tokenizer"):
        repair(load_tokenizer("builtin"), name="repaired")


def test_the_fast_encoder_agrees(repaired: TextTokenizer) -> None:
    data, begins, ends = spans_of([*TEXTS, *fuzzed(200)])
    ids, counts = make_encoder(repaired).encode(data, begins, ends, closing_id=None)
    expected = repaired.encode_batch([*TEXTS, *fuzzed(200)])
    assert counts.tolist() == list(map(len, expected))
    assert ids.tolist() == [number for document in expected for number in document]


def spans_of(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [text.encode() for text in texts]
    ends = np.cumsum([len(part) for part in parts]).astype(np.int64)
    begins = ends - np.array([len(part) for part in parts], np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), begins, ends
