"""YAML and JSON of users: a key that is written twice is an error that names both lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.config.tables import load_json, load_yaml, parse_json

YAML = """# a comment
train:
  global_batch: 8
  steps: 5
model: {layers: 2, heads: 4,
        layers: 3}
train:
  steps: 5
list:
  - {a: 1, a: 2}
  - {a: 1}
1: x
0x1: y
"1": z
"""


def refused(path: Path, text: str) -> list[str]:
    path.write_text(text, "utf-8")
    load = load_json if path.suffix == ".json" else load_yaml
    with pytest.raises(UserError) as caught:
        load(path, "--config f")
    return str(caught.value).splitlines()


def test_every_key_that_a_yaml_holds_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    message = "\n".join(refused(tmp_path / "a.yaml", YAML))
    assert "--config f has keys that are written twice: 3 faults" in message
    assert "the key 'train' is written twice, in lines 2 and 7; YAML would silently" in message
    assert "the key 'model.layers' is written twice, in lines 5 and 6" in message
    assert "the key 'list.0.a' is written twice, in line 10" in message
    assert "remove one of them, or join what stands below both" in message


def test_aliases_and_merges_are_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: [*a, *a]\nd: *a\n")
    assert load_yaml(path, "f") == {
        "a": {"x": 1},
        "b": {"x": 2},
        "c": [{"x": 1}] * 2,
        "d": {"x": 1},
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"a": 1, "b": 2,\n "a": 3}',
            "the key 'a' is written twice, in lines 1 and 2; JSON would",
        ),
        (
            '{"z": {"s": 1,\n\t"x": [{}, {"k": "{\\"s\\": 1}\\n"}],\n"\\u0073": 2}}',
            "the key 'z.s' is written twice, in lines 1 and 3",
        ),
        ('[[{"a": 1, "a": [1, 2]}]]', "the key 'a' is written twice, in line 1"),
    ],
)
def test_a_key_that_a_json_holds_twice_is_named(tmp_path: Path, text: str, told: str) -> None:
    (line,) = refused(tmp_path / "a.json", text)
    assert told in line


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"a": {"a": "a"}}, "b": {"a": ["a", "a"]}, "c": "\\"a\\": 1"}',
        '{"d": [{"a": 1}, {"a": 1}]}',
        '[1, "a", "a", null, {"": {"": 1}}]',
        '"text"',
    ],
)
def test_equal_keys_of_different_objects_are_not_repeated(text: str) -> None:
    parse_json(text, "f")


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_a_byte_order_mark_is_taken(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"a": {"b": 1}}', "utf-8-sig")
    load = load_json if name == "a.json" else load_yaml
    assert load(path, "f") == {"a": {"b": 1}}
    path.write_text('{"a": 1}', "utf-16")  # as PowerShell writes it
    with pytest.raises(UserError, match=r"it is not UTF-8 text .*; save it as UTF-8"):
        load(path, "f")


def test_what_is_not_valid_is_said(tmp_path: Path) -> None:
    assert "--config f is not valid YAML: " in refused(tmp_path / "a.yaml", "a: [")[0]
    assert "--config f is not valid JSON: " in refused(tmp_path / "a.json", "{")[0]
    (tmp_path / "empty.yaml").write_text("")
    assert load_yaml(tmp_path / "empty.yaml", "f") is None
    with pytest.raises(OSError, match="gone"):
        load_yaml(tmp_path / "gone", "f")
