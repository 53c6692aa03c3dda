"""The compiled WordPiece against Hugging Face's."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from parity_cases import SHARED, check_parity, encode, fuzz, points_in_context
from tokenizers import AddedToken, normalizers

from gpt2zh.text import fast_wordpiece, word_cache
from gpt2zh.text.fast_wordpiece import WordPieceEncoder, is_bert_wordpiece
from gpt2zh.text.kernels.wordpiece import ALONE, LONGEST_WORD, SIZE, WORD
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

from ..conftest import demo_texts
from .conftest import TINY


def make(tokenizer: TextTokenizer) -> WordPieceEncoder:
    assert is_bert_wordpiece(tokenizer._backend)
    return WordPieceEncoder(tokenizer._backend, dtype=np.uint16)


@pytest.fixture
def tiny(tiny_vocab: Path) -> TextTokenizer:
    return load_tokenizer(tiny_vocab)


@pytest.fixture(scope="session")
def demo(tiny_vocabulary: Path) -> TextTokenizer:
    """A tokenizer whose vocabulary has all characters of the demo corpus."""
    return load_tokenizer(tiny_vocabulary)


@pytest.fixture(scope="session")
def bert(bert_vocab: Path) -> TextTokenizer:
    return load_tokenizer(bert_vocab)


@pytest.mark.slow
def test_fuzzed_strings_have_the_ids_of_hugging_face(demo: TextTokenizer) -> None:
    check_parity(make(demo), demo, fuzz(demo, 20_000))


@pytest.mark.slow
def test_fuzzed_strings_in_the_real_vocabulary_too(bert: TextTokenizer) -> None:
    check_parity(make(bert), bert, fuzz(bert, 20_000, seed=1))


def test_demo_corpus_has_the_ids_of_hugging_face(demo: TextTokenizer) -> None:
    check_parity(make(demo), demo, demo_texts())


@pytest.mark.slow
def test_every_code_point_has_its_ids_in_each_context(demo: TextTokenizer) -> None:
    encoder = make(demo)
    for texts in points_in_context():
        check_parity(encoder, demo, texts)


@pytest.mark.parametrize(
    "settings",
    [
        {"lowercase": False},
        {"lowercase": False, "strip_accents": True},
        {"lowercase": True, "strip_accents": False},
        {"handle_chinese_chars": False},
        {"clean_text": False},
    ],
    ids=str,
)
def test_each_setting_of_the_normalizer_is_followed(
    tiny: TextTokenizer, settings: dict[str, bool]
) -> None:
    tiny._backend.normalizer = normalizers.BertNormalizer(**settings)
    check_parity(make(tiny), tiny, fuzz(tiny, 3000, seed=2))


def test_real_documents_have_the_ids_of_bert_tokenizer(
    bert: TextTokenizer, bert_vocab: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    lines = bert_vocab.read_text("utf-8").removesuffix("\n").split("\n")
    oracle = transformers.BertTokenizerFast(
        vocab={line: number for number, line in enumerate(lines)}, split_special_tokens=True
    )
    texts = sample_documents()
    expected = oracle(texts, add_special_tokens=False, verbose=False)["input_ids"]
    assert encode(make(bert), texts) == expected


def test_wrong_entry_of_the_table_is_found(demo: TextTokenizer) -> None:
    encoder = make(demo)
    texts = fuzz(demo, 2000)
    check_parity(encoder, demo, texts)
    encoder._table[ord("的")] += 1
    with pytest.raises(AssertionError, match="expected"):
        check_parity(encoder, demo, texts)


def test_wrong_word_is_found(demo: TextTokenizer) -> None:
    encoder = make(demo)
    check_parity(encoder, demo, ["abc 的 xyz", "abc"])
    encoder._cache.words.ids[0] += 1
    with pytest.raises(AssertionError, match="expected"):
        check_parity(encoder, demo, ["abc 的 xyz", "abc"])


def test_only_what_takes_no_notice_of_neighbours_stands_alone(demo: TextTokenizer) -> None:
    encoder = make(demo)
    encode(encoder, ["的，a\u0301\u302e\U0001d165\ue000が한😀\u200b１"])
    codes = [encoder._table[ord(c)] for c in "的，a\u0301\u302e\U0001d165\ue000が한１"]
    assert min(codes[:2]) >= ALONE
    assert set(codes[2:]) == {WORD}


def test_marks_are_ordered_over_the_whole_run(tiny_vocab: Path) -> None:
    # U+034F is removed, but while texts are decomposed it keeps marks on both sides apart.
    tiny_vocab.write_text("\n".join([*TINY, "b", "##\U0001d165", "##\u302e"]) + "\n", "utf-8")
    tokenizer = load_tokenizer(tiny_vocab)
    marks = ["\u302e", "\U0001d165", "\u034f", "\u0301", "\u200b", "\ue000", "\U0001d16d"]
    texts = [f"b{a}{b}{c}b的{a}{b}" for a in marks for b in marks for c in marks]
    encoder = make(tokenizer)
    check_parity(encoder, tokenizer, texts)
    one, other = encode(encoder, ["b\u302e\U0001d165", "b\u302e\u200b\U0001d165"])
    assert one == other and len(one) == 3


@pytest.mark.parametrize("literal", ["[SEP]", "[UNK]", "<eos>", "<pad>", "[MASK]"])
def test_literal_control_token_is_text(tiny: TextTokenizer, literal: str) -> None:
    [ids] = encode(make(tiny), [f"今{literal}天 {literal}"])
    assert not {tiny.eos_id, tiny.pad_id, 0, 2, 3, 4} & set(ids)
    check_parity(make(tiny), tiny, [f"今{literal}天 {literal}"])


@pytest.mark.parametrize(("words", "size"), [(8, 4096), (4096, 600)])
def test_cache_stays_within_its_bounds_and_right(
    demo: TextTokenizer, monkeypatch: pytest.MonkeyPatch, words: int, size: int
) -> None:
    for module in (word_cache, fast_wordpiece):
        monkeypatch.setattr(module, "MOST_WORDS", words)
    monkeypatch.setattr(word_cache, "_MOST_BYTES", size)
    encoder = make(demo)
    texts = [f"word{number % 97} w{number} ツ{number % 50} 的" for number in range(3000)]
    check_parity(encoder, demo, texts)
    assert encoder._cache.words.entries.shape[0] == words
    assert encoder._cache.words.keys.size == size
    assert encoder.unknown == {f"ツ{number}": 60 for number in range(50)}


def test_very_long_run_is_right_and_not_kept(demo: TextTokenizer) -> None:
    runs = ["x" * size for size in (99, 100, 101, LONGEST_WORD, LONGEST_WORD + 1, 300_000)]
    encoder = make(demo)
    check_parity(encoder, demo, [f"的{run}的{run} new{number}" for number, run in enumerate(runs)])
    assert encoder._cache.words.entries[:, SIZE].max() == LONGEST_WORD


def test_document_of_ten_megabytes_is_encoded(demo: TextTokenizer) -> None:
    part = "从前有座山 word，" * 1000
    encoder = make(demo)
    [ids] = encode(encoder, [part * 400])
    assert ids == encode(encoder, [part])[0] * 400


def test_run_that_holds_the_border_token_is_asked_alone(demo: TextTokenizer) -> None:
    encoder = make(demo)
    assert encoder._border is not None
    texts = ["ab", encoder._border[0], "", f"a{encoder._border[0]}b", "cd"]
    ids, counts = encoder._encode(texts)
    expected = [demo.encode(text) for text in texts]
    assert ids.tolist() == [number for part in expected for number in part]
    assert counts.tolist() == [len(part) for part in expected]


def test_vocabulary_without_a_border_token_serves(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\nab\n##c\n山\n", "utf-8")
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    encoder = make(tokenizer)
    assert encoder._border is None
    check_parity(encoder, tokenizer, ["ab abc 山ab, abd", *fuzz(tokenizer, 1000)])


def test_unknown_characters_and_words_are_counted(tiny: TextTokenizer) -> None:
    encoder = make(tiny)
    encode(encoder, ["龘一龘 zzz 😀的a😀", "zzz龘", "hello " + "y" * 1000])
    assert encoder.unknown == {"龘": 3, "zzz": 2, "😀": 1, "a😀": 1, "y" * 40: 1}
    encoder.unknown.clear()
    encode(encoder, ["龘hello zzz"])
    assert encoder.unknown == {"龘": 1, "zzz": 1}


def test_number_of_unknown_texts_is_bounded(
    tiny: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_wordpiece, "_MOST_UNKNOWN", 3)
    encoder = make(tiny)
    encode(encoder, ["zz yy ww vv uu zz vv"])
    assert encoder.unknown == {"zz": 2, "yy": 1, "ww": 1, "": 3}


def test_other_tokenizers_are_not_taken_for_it(tiny: TextTokenizer) -> None:
    tiny._backend.add_tokens([AddedToken("好你", special=False)])
    assert not is_bert_wordpiece(tiny._backend)


def sample_documents() -> list[str]:
    """Return some real documents of each kind, or skip."""
    files = sorted((SHARED / "pretrain_csv").glob("*/part-000.csv"))
    if not files:
        pytest.skip(f"needs the corpora at {SHARED / 'pretrain_csv'}")
    texts = []
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row["content"] for row in csv.DictReader(file)]
        texts += rows[:: max(1, len(rows) // 150)]
    return texts
