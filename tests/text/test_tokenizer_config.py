"""tokenizer_config.json: what transformers reads in it, and what is read back here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.text.tokenizer_config import FILE, read_config, write_config

CONTROL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def test_nothing_that_differs_between_versions_is_left_to_a_default(tmp_path: Path) -> None:
    write_config(tmp_path, CONTROL, context=128, document_start="</s>")
    table = json.loads((tmp_path / FILE).read_text("utf-8"))
    assert table["model_input_names"] == ["input_ids", "attention_mask"]
    assert (table["padding_side"], table["model_max_length"]) == ("left", 128)
    assert "split_special_tokens" not in table  # true would spell <eos> out in chat templates


@pytest.mark.parametrize("start", [None, "<s>", "</s>"])
def test_other_tools_begin_with_the_start_of_a_document_and_we_keep_our_own(
    tmp_path: Path, start: str | None
) -> None:
    write_config(tmp_path, CONTROL, document_start=start)
    table = json.loads((tmp_path / FILE).read_text("utf-8"))
    assert table["bos_token"] == (start or "<s>")
    assert CONTROL.items() <= read_config(tmp_path).items()


def test_a_tokenizer_without_a_model_has_no_maximum_length(tmp_path: Path) -> None:
    write_config(tmp_path, CONTROL)
    assert "model_max_length" not in json.loads((tmp_path / FILE).read_text("utf-8"))


def test_both_files_are_read_and_nulls_are_not_given(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "a", "pad_token": "p"}')
    (tmp_path / FILE).write_text('{"eos_token": "b", "pad_token": null, "gpt2zh": 3}')
    assert read_config(tmp_path) == {"eos_token": "b", "pad_token": "p"}


@pytest.mark.parametrize(("text", "words"), [("[1]", "holds a list"), ("{", "is not valid JSON")])
def test_a_file_that_is_not_an_object_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=f"{FILE} {words}"):
        read_config(tmp_path)
