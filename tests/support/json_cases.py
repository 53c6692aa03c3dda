"""Values of JSON files that are documents, and values that are set aside."""

from __future__ import annotations

VALUES = [
    ('{"id": 1, "content": "一\\n\\"\\u4e8c\\ud83d\\ude00"}', '一\n"二😀'),
    ('"bare"', "bare"),
    ('{"content": null}', ""),
    ("null", ""),
    ('{"content": "", "deep": [[{"content": 1}]]}', ""),
]
FAULTS = [
    ('{"text": "x"}', "missing key", "no key 'content'; its keys are: text"),
    ('{"content": 5}', "not a string", "'content' is of type int"),
    ("[1]", "not a string", "it is a list of 1 value: a dialogue?"),
    ("12", "not a string", "it is of type int"),
    ('"a\\ud800"', "lone surrogate", "U+D800 at character 1"),
    ('"a\\u0000"', "NUL character", "at character 1"),
    ('"a\xff"', "bad UTF-8", "byte 0xFF at character 2"),
]


def raw(text: str) -> bytes:
    """UTF-8, but for one character that becomes a bad byte."""
    return text.encode().replace("\xff".encode(), b"\xff")
