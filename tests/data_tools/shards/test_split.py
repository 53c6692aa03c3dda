"""Which documents are held out follows from their hashes alone."""

from __future__ import annotations

from data_tools.shards.split import document_hash

from ..conftest import is_validation, many_texts

HASH = 16_900_922_526_095_758_282  # xxh3-64 of 从前有座山


def test_hash_of_a_document_is_the_same_on_every_machine() -> None:
    assert document_hash("从前有座山".encode()) == HASH
    assert is_validation("从前有座山", 0.917) and not is_validation("从前有座山", 0.916)


def test_fraction_of_documents_is_held_out() -> None:
    held = sum(is_validation(text, 0.1) for text in many_texts(5000))
    assert 400 < held < 600
