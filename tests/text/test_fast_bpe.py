"""The compiled BPE against Hugging Face's."""

from __future__ import annotations

import csv
import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity_cases import ALPHABET, SHARED, check_parity, encode, fuzz, points_in_context
from tokenizers import Tokenizer

from gpt2zh.text import training
from gpt2zh.text.fast_bpe import BpeEncoder, is_builtin_bpe
from gpt2zh.text.kernels.bpe import LONGEST_SEGMENT, RESULT
from gpt2zh.text.kernels.pieces import PATTERN
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

from ..conftest import demo_texts


def make(tokenizer: TextTokenizer) -> BpeEncoder:
    assert is_builtin_bpe(tokenizer._backend)
    return BpeEncoder(tokenizer._backend, dtype=np.uint16)


@pytest.fixture(scope="module")
def builtin() -> TextTokenizer:
    return load_tokenizer("builtin")


@pytest.fixture(scope="module")
def encoder(builtin: TextTokenizer) -> BpeEncoder:
    """For tests that do not change it; it has met whatever they came with."""
    return make(builtin)


@pytest.fixture(scope="module")
def trained() -> TextTokenizer:
    """A tokenizer trained on the demo corpus, with bytes for all other characters."""
    return training.train_tokenizer(demo_texts(), vocab_size=6000, alphabet="corpus")


def random_merges(seed: int) -> TextTokenizer:
    """Return a tokenizer whose merges are drawn from all pairs, over all classes, in any order."""
    rng = random.Random(seed)
    tokens = list(ALPHABET[:-2])  # two characters are left to the bytes
    merges: dict[tuple[str, str], None] = {}
    while len(merges) < 400:
        pair = (rng.choice(tokens), rng.choice(tokens))
        if len(pair[0] + pair[1]) <= 8:
            merges[pair] = None
            tokens.append(pair[0] + pair[1])
    ranked = list(merges)
    rng.shuffle(ranked)
    names = ["<pad>", "<bos>", "<eos>", *training.BYTE_TOKENS, *dict.fromkeys(tokens)]
    rng.shuffle(names)
    vocab = {name: number for number, name in enumerate(names)}
    backend = training._assemble({"vocab": vocab, "merges": ranked})
    return TextTokenizer(backend, training._CONTROL, name="random")


@pytest.mark.slow
def test_fuzzed_strings_have_the_ids_of_hugging_face(builtin: TextTokenizer) -> None:
    check_parity(make(builtin), builtin, fuzz(builtin, 20_000))


def test_demo_corpus_has_the_ids_of_hugging_face(
    builtin: TextTokenizer, trained: TextTokenizer
) -> None:
    for tokenizer in (builtin, trained):
        check_parity(make(tokenizer), tokenizer, demo_texts())


def test_trained_tokenizer_has_its_ids_on_fuzz(trained: TextTokenizer) -> None:
    check_parity(make(trained), trained, fuzz(trained, 5000, seed=1))


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_any_merges_is_followed(seed: int) -> None:
    tokenizer = random_merges(seed)
    rng = random.Random(seed)
    texts = ["".join(rng.choices(ALPHABET, k=rng.randrange(40))) for _ in range(2000)]
    texts += ["".join(rng.choices(rng.choices(ALPHABET, k=3), k=300)) for _ in range(100)]
    check_parity(make(tokenizer), tokenizer, texts)


@pytest.mark.slow
def test_every_code_point_has_its_ids_in_each_context(builtin: TextTokenizer) -> None:
    encoder = make(builtin)
    for texts in points_in_context():
        check_parity(encoder, builtin, texts)


@pytest.mark.parametrize("first", ["的", "\u3000", "!", "1", "\n"])
def test_pages_may_be_met_in_any_order(builtin: TextTokenizer, first: str) -> None:
    check_parity(make(builtin), builtin, [first, " 的", " a", " ！", "  \u3000a", " \u2028\n的"])


def test_real_documents_have_the_ids_of_hugging_face(
    builtin: TextTokenizer, encoder: BpeEncoder
) -> None:
    files = sorted((SHARED / "pretrain_csv").glob("*/part-000.csv"))
    if not files:
        pytest.skip(f"needs the corpora at {SHARED / 'pretrain_csv'}")
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts = [row["content"] for row in csv.DictReader(file)]
        check_parity(encoder, builtin, texts[:: max(1, len(texts) // 150)])


def test_wrong_merge_is_found(builtin: TextTokenizer) -> None:
    encoder = make(builtin)
    model = json.loads(builtin._backend.to_str())["model"]
    pair = sum(model["vocab"][char] << shift for char, shift in (("我", 32), ("们", 0)))
    [row] = np.flatnonzero(encoder._merges.pairs[:, 0] == pair)
    encoder._merges.pairs[row, RESULT] += 1
    with pytest.raises(AssertionError, match="expected"):
        check_parity(encoder, builtin, demo_texts())


def test_wrong_class_is_found(builtin: TextTokenizer) -> None:
    encoder = make(builtin)
    encode(encoder, ["9"])
    encoder._table[ord("9")] ^= 1 << 2
    with pytest.raises(AssertionError, match="expected"):
        check_parity(encoder, builtin, fuzz(builtin, 5000))


def test_missing_neighbours_are_found(builtin: TextTokenizer) -> None:
    encoder = make(builtin)
    encoder._merges.neighbours[:1000] = 0
    with pytest.raises(AssertionError, match="expected"):
        check_parity(encoder, builtin, demo_texts())


@pytest.mark.parametrize("text", ["-", "=", " ", "\n", "ha", "  \n", "。", "哈", "\ue000"])
def test_long_runs_are_right(builtin: TextTokenizer, encoder: BpeEncoder, text: str) -> None:
    sizes = (15, 16, 17, LONGEST_SEGMENT - 1, LONGEST_SEGMENT, LONGEST_SEGMENT + 1, 5000)
    texts = [f"的{text * size}的{text * size} a" for size in sizes]
    check_parity(encoder, builtin, texts)


def test_time_grows_with_the_length_of_a_run_and_no_faster(
    builtin: TextTokenizer, encoder: BpeEncoder
) -> None:
    encode(encoder, ["-" * 1000])
    begin = time.process_time()
    [ids] = encode(encoder, ["-" * 1_000_000])
    assert time.process_time() - begin < 20  # the square would take an hour
    assert builtin.decode(ids) == "-" * 1_000_000


def test_document_of_ten_megabytes_is_encoded(encoder: BpeEncoder) -> None:
    part = "从前有座山，\n  The word.\n\n" * 1000
    [ids] = encode(encoder, [part * 300])
    assert ids == encode(encoder, [part])[0] * 300


@pytest.mark.parametrize("literal", ["<eos>", "<pad>", "<bos>", "<0x41>", "<0xE4>", "[SEP]"])
def test_literal_control_token_is_text(
    builtin: TextTokenizer, encoder: BpeEncoder, literal: str
) -> None:
    [ids] = encode(encoder, [f"今{literal}天 {literal}"])
    assert builtin.decode(ids) == f"今{literal}天 {literal}"
    check_parity(encoder, builtin, [f"今{literal}天 {literal}"])


def without_bytes(spec: dict[str, Any]) -> None:
    spec["model"]["vocab"]["<0x7G>"] = spec["model"]["vocab"].pop("<0x7F>")


def with_bytes_that_merge(spec: dict[str, Any]) -> None:
    spec["model"]["merges"].append(["<0xE4>", "<0xB8>"])
    spec["model"]["vocab"]["<0xE4><0xB8>"] = 40_000


def with_word(spec: dict[str, Any]) -> None:
    token = {**spec["added_tokens"][0], "id": 40_000, "content": "好你", "special": False}
    spec["added_tokens"].append(token)


@pytest.mark.parametrize(
    "change",
    [
        without_bytes,
        with_bytes_that_merge,
        with_word,
        lambda spec: spec.update(normalizer={"type": "NFC"}),
        lambda spec: spec["pre_tokenizer"]["pattern"].update(Regex=PATTERN + "|x"),
        lambda spec: spec["pre_tokenizer"].update(behavior="Removed"),
        lambda spec: spec["model"].update(ignore_merges=True),
        lambda spec: spec["model"].update(dropout=0.1),
        lambda spec: spec["model"].update(byte_fallback=False),
        lambda spec: spec["model"].update(end_of_word_suffix="</w>"),
    ],
)
def test_other_tokenizers_are_not_taken_for_it(
    builtin: TextTokenizer, change: Callable[[dict[str, Any]], None]
) -> None:
    spec = json.loads(builtin._backend.to_str())
    change(spec)
    other = Tokenizer.from_str(json.dumps(spec))
    other.encode_special_tokens = True
    assert not is_builtin_bpe(other)


def test_a_copy_is_taken_for_it(builtin: TextTokenizer) -> None:
    same = Tokenizer.from_str(builtin._backend.to_str())
    same.encode_special_tokens = True
    assert is_builtin_bpe(same)


def test_tokenizer_that_splits_off_control_tokens_is_not_taken_for_it() -> None:
    backend = Tokenizer.from_str(load_tokenizer("builtin")._backend.to_str())
    assert not is_builtin_bpe(backend)
