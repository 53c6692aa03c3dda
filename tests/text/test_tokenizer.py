"""The builtin tokenizer, any folder's tokenizer, and what AutoTokenizer makes of them."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from gpt2zh.config.errors import UserError
from gpt2zh.text import tokenizer as tokenizer_module
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

MODERN = (
    "他把窗子推开，外面的雨已经停了，街上的人慢慢多起来。卖早点的摊子前排着队，老板一边收钱一边和"
    "熟客说笑。她想起小时候，每到下雨天，父亲总会撑着那把旧伞，站在学校门口等她。“走吧，”他说，"
    "“回家吃饭。”这些年她去过很多地方，见过很多人，可是最让她安心的，还是那条湿漉漉的小路，和路"
    "尽头亮着的一盏灯。工作以后，她很少有时间回家，电话里也总是说不上几句话。这一次，她决定多住几天。"
)
HARD = [
    "",
    " ",
    "  开头和结尾都有空格  ",
    "a\tb\r\nc\n\n\nd\x00e",
    "“双引号” ‘单引号’ …… —— · 《书名》",
    "ＡＢＣ１２３　全角",
    "Hello, WORLD! isn't it?",
    "😀👨‍👩‍👧‍👦 🇨🇳 é e\u0301 ñ",
    "龘䶮𠮷𪚥 日本語かな 한국어",
    "<eos> <pad> <bos> [SEP] [CLS] <0x41> <0xE4> <|endoftext|>",
    "\ufeff\u200b\u2028\u0085\ue000\uffff",
    "2024年10月1日 3.14159 １２",
]
LITERALS = ["<eos>", "<pad>", "<bos>", "[SEP]", "[CLS]", "[UNK]", "<|endoftext|>", "</s>"]


@pytest.fixture(scope="module")
def builtin() -> TextTokenizer:
    return load_tokenizer("builtin")


def random_texts(count: int) -> list[str]:
    """Return strings of all of Unicode, of Chinese, and of what looks like control tokens."""
    rng = random.Random(7)
    basic = [*range(0x4E00), *range(0xA000, 0xD800), *range(0xE000, 0x10000)]
    pools = [
        lambda: chr(rng.randrange(0x20, 0x7F)),
        lambda: chr(rng.randrange(0x4E00, 0x9FFF)),
        lambda: chr(rng.choice(basic)),
        lambda: chr(rng.randrange(0x10000, 0x110000)),
        lambda: rng.choice(" \t\n\r\x00，。“”…—"),
        lambda: rng.choice([*LITERALS, "<0x0A>", "<0xFF>", "\r\n", "  "]),
    ]
    return ["".join(rng.choice(pools)() for _ in range(rng.randrange(40))) for _ in range(count)]


def test_builtin_writes_every_text_back(builtin: TextTokenizer) -> None:
    texts = HARD + random_texts(2000)
    decoded = [builtin.decode(ids) for ids in builtin.encode_batch(texts)]
    assert decoded == texts


@pytest.mark.slow
def test_builtin_writes_every_code_point_back(builtin: TextTokenizer) -> None:
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    for begin in range(0, len(points), 5000):
        text = "".join(map(chr, points[begin : begin + 5000]))
        assert builtin.decode(builtin.encode(text)) == text


def test_builtin_needs_few_tokens_for_modern_chinese(builtin: TextTokenizer) -> None:
    assert len(builtin.encode(MODERN)) / len(MODERN) <= 0.75


def test_builtin_has_three_distinct_control_ids_and_fits_16_bits(builtin: TextTokenizer) -> None:
    assert len({builtin.bos_id, builtin.eos_id, builtin.pad_id}) == 3
    assert 20_000 < builtin.vocab_size < 65_536


def test_literal_byte_token_is_not_a_byte(builtin: TextTokenizer) -> None:
    byte = builtin._backend.token_to_id("<0x41>")
    assert byte is not None and byte not in builtin.encode("<0x41>")
    assert builtin.decode([byte]) == "A"


@pytest.mark.parametrize("literal", LITERALS)
def test_a_text_cannot_forge_a_control_token(builtin: TextTokenizer, literal: str) -> None:
    control = {builtin.bos_id, builtin.eos_id, builtin.pad_id}
    assert not control & set(builtin.encode(f"前{literal}后 {literal}"))


def test_decode_leaves_control_tokens_out(builtin: TextTokenizer) -> None:
    ids = [builtin.bos_id, *builtin.encode("你好"), builtin.eos_id, builtin.pad_id]
    assert builtin.decode(ids) == "你好"


def test_long_text_in_pieces_has_the_ids_of_the_whole(
    builtin: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (MODERN + "\n\n  " + "Line one.\nLine two。\n") * 40
    whole = builtin.encode(text)
    monkeypatch.setattr(tokenizer_module, "_LONG_TEXT", 100)
    monkeypatch.setattr(tokenizer_module.cut_text, "__kwdefaults__", {"longest": 30})
    calls: list[int] = []
    encode = builtin._encode
    monkeypatch.setattr(
        builtin, "_encode", lambda texts: [calls.append(len(texts)), encode(texts)][1]
    )
    assert builtin.encode_batch(["短", text]) == [encode(["短"])[0], whole]
    assert len(calls) > 10


@pytest.mark.parametrize("with_model_config", [False, True])
def test_auto_tokenizer_agrees(
    builtin: TextTokenizer, tmp_path: Path, with_model_config: bool
) -> None:
    check_auto_tokenizer(builtin, tmp_path / "out", with_model_config)


def check_auto_tokenizer(
    tokenizer: TextTokenizer, folder: Path, with_model_config: bool = True
) -> None:
    """Compare with AutoTokenizer on what `tokenizer` saves."""
    transformers = pytest.importorskip("transformers")
    tokenizer.save(folder)
    if with_model_config:
        config = transformers.GPT2Config(vocab_size=tokenizer.vocab_size, n_layer=1)
        config.bos_token_id, config.eos_token_id = tokenizer.bos_id, tokenizer.eos_id
        (folder / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    assert (auto.bos_token_id, auto.eos_token_id, auto.pad_token_id) == (
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.pad_id,
    )
    assert len(auto) == tokenizer.vocab_size
    special = auto.all_special_tokens + list(auto.get_added_vocab())
    for text in [MODERN, *HARD, *random_texts(200)]:
        ids = tokenizer.encode(text)
        assert auto(text, split_special_tokens=True)["input_ids"] == ids
        if not any(token in text for token in special):
            assert auto(text)["input_ids"] == ids
        assert auto.decode([*ids, auto.eos_token_id], skip_special_tokens=True) == tokenizer.decode(
            [*ids, tokenizer.eos_id]
        )


def test_saved_tokenizer_loads_as_the_same(builtin: TextTokenizer, tmp_path: Path) -> None:
    builtin.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.hash == builtin.hash and again.control == builtin.control


@pytest.mark.parametrize("bos", ["<bos>", "<s>"])
def test_a_checkpoint_says_to_transformers_how_it_is_used(
    builtin: TextTokenizer, tmp_path: Path, bos: str
) -> None:
    transformers = pytest.importorskip("transformers")
    backend = Tokenizer.from_str(builtin._backend.to_str().replace('"<bos>"', f'"{bos}"'))
    control = dataclasses.replace(builtin.control, bos_token=bos)
    tokenizer = TextTokenizer(backend, control, name="t")
    tokenizer.save(tmp_path, context=128, document_start=tokenizer.eos_id)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert auto.bos_token_id == auto.eos_token_id == tokenizer.eos_id
    assert (auto.padding_side, auto.model_max_length) == ("left", 128)
    assert auto.model_input_names == ["input_ids", "attention_mask"]
    assert auto("<eos>春风<eos>")["input_ids"] == [2, *tokenizer.encode("春风"), 2]
    again = load_tokenizer(tmp_path)  # here nothing has changed
    assert again.control == control and again.hash == tokenizer.hash
    assert tokenizer.eos_id not in again.encode("<eos>春风<eos>")


@pytest.mark.parametrize("token", LITERALS)
def test_chat_templates_name_special_tokens_and_texts_here_never_do(
    tiny_vocab: Path, tmp_path: Path, token: str
) -> None:
    """A template is rendered to a text, which transformers encodes as a whole."""
    transformers = pytest.importorskip("transformers")
    tokenizer = load_tokenizer(tiny_vocab)
    tokenizer.save(tmp_path / "out", context=8, document_start=tokenizer.eos_id)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    auto.chat_template = "{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    ids = auto.apply_chat_template([{"role": "user", "content": "你好"}], return_dict=False)
    assert ids == [*tokenizer.encode("你好"), tokenizer.eos_id]
    control = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, 0, 2, 3, 4}
    assert not control & set(load_tokenizer(tmp_path / "out").encode(f"你{token}好"))


def byte_level(folder: Path, config: dict[str, object]) -> Path:
    """Write a GPT-2 style tokenizer folder with <|endoftext|> and a truncation of 4 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {char: number for number, char in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    backend.enable_truncation(4)
    backend.enable_padding(length=8)
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_other_folder_keeps_its_eos_and_gets_what_it_lacks(tmp_path: Path) -> None:
    end = {"content": "<|endoftext|>", "lstrip": False}
    folder = byte_level(tmp_path / "gpt2", {"bos_token": end, "eos_token": "<|endoftext|>"})
    tokenizer = load_tokenizer(folder)
    assert tokenizer.control.eos_token == "<|endoftext|>" and tokenizer.eos_id == 256
    assert (tokenizer.bos_id, tokenizer.pad_id, tokenizer.vocab_size) == (257, 258, 259)
    assert tokenizer.decode(tokenizer.encode("你好, a longer text")) == "你好, a longer text"
    assert 256 not in tokenizer.encode("<|endoftext|>")
    check_auto_tokenizer(tokenizer, tmp_path / "out")


def test_word_that_is_also_a_control_token_is_not_taken_for_it(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1, "a": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.save(str(tmp_path / "tokenizer.json"))
    config = {"eos_token": "</s>", "unk_token": "[UNK]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eos_id not in tokenizer.encode("a </s> a")
    assert tokenizer.eos_id != 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nowhere", ["nowhere", "no such folder", "builtin"]),
        (lambda folder: folder, ["no tokenizer.json", "save_pretrained"]),
        (lambda folder: _write(folder / "tokenizer.json", "{}").parent, ["is not a tokenizer"]),
        (lambda folder: _write(folder / "tokenizer.json", "{}"), ["a file must be a BERT vocab"]),
        (lambda folder: _write(folder / "vocab.txt", "a\nb\n"), ["lacks [UNK], [CLS], [SEP]"]),
    ],
)
def test_unusable_tokenizer_is_refused_with_a_cure(tmp_path: Path, make, words) -> None:
    with pytest.raises(UserError) as caught:
        load_tokenizer(make(tmp_path))
    assert all(word in str(caught.value) for word in words), caught.value


def test_hub_that_does_not_answer_is_reported_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> Tokenizer:
        raise OSError(f"no route to {name}")

    monkeypatch.setattr(tokenizer_module.Tokenizer, "from_pretrained", staticmethod(offline))
    with pytest.raises(UserError, match=r"no route to google-bert.*vocab\.txt.*builtin"):
        load_tokenizer("bert-base-chinese")


def _write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_folder_that_is_called_builtin_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("builtin").mkdir()
    with pytest.raises(UserError, match="builtin"):
        load_tokenizer(Path("builtin"))  # it is empty
    assert load_tokenizer("builtin").vocab_size > 10_000
