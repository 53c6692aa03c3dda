"""The verbs of `gpt2zh`: each one runs a function that exists and takes the options it declares."""

from __future__ import annotations

import importlib
import inspect

import pytest

from gpt2zh.__main__ import VERBS, main
from gpt2zh.config.verbs import Verb


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_a_verb_runs_a_function_that_takes_its_options(verb: Verb) -> None:
    module, _, name = verb.run.partition(":")
    function = getattr(importlib.import_module(module), name)
    configs = verb.config if isinstance(verb.config, tuple) else (verb.config,)
    hints = inspect.get_annotations(function, eval_str=True)
    assert tuple(hints.values())[: len(configs)] == configs
    if verb.positional:
        assert verb.positional in {*configs[0].__dataclass_fields__}


def test_the_command_runs_the_verb_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["gpt2zh", "plan", "--model.layers=2", "--ranks=2"])
    assert main() == 0
    assert "2 layers" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["gpt2zh", "verify", "everything"])
    assert main() == 2
    assert "known: verify checkpoint, verify resume" in capsys.readouterr().err
