"""Documents taken from JSON values, and values that cannot be documents."""

from __future__ import annotations

import json

import pytest
from json_cases import FAULTS, VALUES

from data_tools.sources.json_values import NotADocument, extract_text


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_string_is_a_document_and_null_an_empty_one(value: str, text: str) -> None:
    assert extract_text(json.loads(value), "content") == text.encode()


@pytest.mark.parametrize(
    ("value", "reason", "detail"), [case for case in FAULTS if case[1] != "bad UTF-8"]
)
def test_other_values_are_not_documents(value: str, reason: str, detail: str) -> None:
    with pytest.raises(NotADocument) as caught:
        extract_text(json.loads(value), "content")
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_of_many_keys_the_first_are_named() -> None:
    with pytest.raises(NotADocument) as caught:
        extract_text({"k" * 100 + str(number): 0 for number in range(50)}, "content")
    names = caught.value.detail.removeprefix("no key 'content'; its keys are: ")
    assert names.startswith("k" * 80 + ", kkk") and len(names) == 300


def test_a_fault_is_described_with_its_place_and_an_excerpt() -> None:
    aside = NotADocument("not a string", "it is of type int").describe(7, "值\xff".encode()[:4], 90)
    assert (aside.line, aside.size) == (7, 90)
    assert (aside.reason, aside.detail) == ("not a string", "it is of type int")
    assert aside.excerpt == "值\\xc3"
