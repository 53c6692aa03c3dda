"""BERT vocabularies: the ids of BertTokenizer, three new tokens, Chinese without spaces."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

from .conftest import TINY


def reference(vocab: Path, *, lowercase: bool = True):
    """Return transformers' own tokenizer of a vocab.txt."""
    transformers = pytest.importorskip("transformers")
    lines = vocab.read_text("utf-8").removesuffix("\n").split("\n")
    table = {line: number for number, line in enumerate(lines)}
    return transformers.BertTokenizerFast(
        vocab=table, do_lower_case=lowercase, split_special_tokens=True
    )


def check_parity(tokenizer: TextTokenizer, oracle) -> None:
    rng = random.Random(3)
    signs = "的一是天今你好，。！[]<>helowrdnyk HELO 今天éＡ１かな한😀①≠"
    signs += "\t\n\r\x00\u3000\xa0\u200b\ue000"
    texts = ["Hello WORLD 今天 tokenizer ab", "[SEP] <eos> [UNK]", "a" * 150 + "好"]
    texts += ["".join(rng.choices(signs, k=rng.randrange(30))) for _ in range(1000)]
    expected = [oracle(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert tokenizer.encode_batch(texts) == expected


def test_a_byte_order_mark_is_not_a_part_of_the_first_token(
    tiny_vocab: Path, tmp_path: Path
) -> None:
    marked = tmp_path / "vocab.txt"
    marked.write_bytes(b"\xef\xbb\xbf" + tiny_vocab.read_bytes())
    assert load_tokenizer(marked).pad_id == load_tokenizer(tiny_vocab).pad_id
    assert load_tokenizer(marked).hash == load_tokenizer(tiny_vocab).hash


def test_ids_are_those_of_bert_tokenizer(tiny_vocab: Path) -> None:
    check_parity(load_tokenizer(tiny_vocab), reference(tiny_vocab))


def test_ids_are_those_of_bert_tokenizer_with_the_real_vocabulary(bert_vocab: Path) -> None:
    check_parity(load_tokenizer(bert_vocab), reference(bert_vocab))


def test_real_vocabulary_has_its_known_ids(bert_vocab: Path) -> None:
    assert load_tokenizer(bert_vocab).encode("的") == [4638]


def test_vocabulary_is_read_by_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("[UNK]\n[CLS]\n[SEP]\n\u2028\n\x85\n的\n".encode())
    assert load_tokenizer(path).encode("的") == [5]


def test_three_new_tokens_follow_the_vocabulary(bert_vocab: Path) -> None:
    tokenizer = load_tokenizer(bert_vocab)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (21128, 21129, 21130)
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.vocab_size) == (101, 102, 21131)


@pytest.mark.parametrize("literal", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "<eos>", "<pad>"])
def test_a_text_cannot_forge_a_control_token(tiny_vocab: Path, literal: str) -> None:
    tokenizer = load_tokenizer(tiny_vocab)
    control = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, 0, 2, 3, 4}
    assert not control & set(tokenizer.encode(f"今天{literal}好 {literal}"))


@pytest.mark.parametrize("lowercase", [True, False])
def test_folder_decides_on_lower_case(tiny_vocab: Path, lowercase: bool) -> None:
    config = {"do_lower_case": lowercase}
    (tiny_vocab.parent / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    tokenizer = load_tokenizer(tiny_vocab.parent)
    oracle = reference(tiny_vocab, lowercase=lowercase)
    assert tokenizer.encode("Hello") == oracle("Hello", add_special_tokens=False)["input_ids"]
    check_parity(tokenizer, oracle)


@pytest.mark.parametrize("lowercase", [True, False])
def test_folder_saved_by_transformers_gives_the_same_ids(
    tiny_vocab: Path, tmp_path: Path, lowercase: bool
) -> None:
    oracle = reference(tiny_vocab, lowercase=lowercase)
    oracle.save_pretrained(tmp_path / "saved")
    tokenizer = load_tokenizer(tmp_path / "saved")
    check_parity(tokenizer, oracle)
    assert len({tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, 0}) == 4
    check_auto_tokenizer(tokenizer, tmp_path / "out")


def test_folder_config_overrides_the_case_rule_of_tokenizer_json(
    tiny_vocab: Path, tmp_path: Path
) -> None:
    load_tokenizer(tiny_vocab).save(tmp_path)
    assert load_tokenizer(tmp_path).encode("Hello") == load_tokenizer(tiny_vocab).encode("hello")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    assert load_tokenizer(tmp_path).encode("Hello") == [TINY.index("Hello")]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("今天，你好！", "今天，你好！"),
        ("hello world", "hello world"),
        ("今天 hello world 你好", "今天hello world你好"),
        ("New York, hello. World!", "new york, hello. world!"),
        ("tokenizer ab", "tokenizer ab"),
    ],
)
def test_spaces_stay_between_latin_words_only(tiny_vocab: Path, text: str, written: str) -> None:
    tokenizer = load_tokenizer(tiny_vocab)
    assert tokenizer.decode(tokenizer.encode(text)) == written


def test_auto_tokenizer_agrees(tiny_vocab: Path, tmp_path: Path) -> None:
    check_auto_tokenizer(load_tokenizer(tiny_vocab), tmp_path / "out")


def check_auto_tokenizer(tokenizer: TextTokenizer, folder: Path) -> None:
    """Compare with AutoTokenizer on what `tokenizer` saves."""
    transformers = pytest.importorskip("transformers")
    tokenizer.save(folder)
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ["今天 hello world，你好 [SEP] <eos> X", "tokenizer, ab!", "一 \n 的"]:
        ids = tokenizer.encode(text)
        assert auto(text, split_special_tokens=True)["input_ids"] == ids
        assert auto.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
    assert (auto.bos_token_id, auto.eos_token_id, auto.pad_token_id) == (
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.pad_id,
    )
    assert load_tokenizer(folder).hash == tokenizer.hash
