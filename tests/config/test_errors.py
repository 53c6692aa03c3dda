"""Faults of a user are collected and shown together."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2zh.config.errors import RunError, UserError, attempt, raise_all
from gpt2zh.config.exit_codes import Exit


def refuse() -> None:
    raise UserError("lr is -1")


def test_faults_of_several_attempts_are_collected(tmp_path: Path) -> None:
    faults: list[str] = []
    assert attempt(lambda: 5, faults) == 5 and not faults
    assert attempt(refuse, faults) is None
    assert attempt((tmp_path / "missing").read_text, faults) is None
    assert faults[0] == "lr is -1" and "No such file" in faults[1] and "missing" in faults[1]


def test_an_error_of_the_program_is_not_collected() -> None:
    with pytest.raises(ZeroDivisionError):
        attempt(lambda: 1 // 0, [])


def test_faults_are_raised_together_and_one_alone_without_a_title() -> None:
    raise_all([], "the config")
    with pytest.raises(UserError, match=r"^a is bad$"):
        raise_all(["a is bad"], "the config")
    with pytest.raises(UserError, match=r"^the config: 2 faults\n  - a is bad\n  - b is bad$"):
        raise_all(["a is bad", "b is bad"], "the config")


def test_the_end_of_a_run_carries_its_exit_code() -> None:
    assert RunError(Exit.HUNG, "rank 1 hangs").code == 70


def test_a_message_cannot_disturb_a_terminal() -> None:
    text = "a\x00b\x1b[31m\u200b\ufeff\udcff\u2028\t\x9f\n汉　 󰀀󠀁"
    assert str(UserError(text)) == (
        r"a\x00b\x1b[31m\u200b\ufeff\xff\u2028\t\x9f" + "\n汉　 󰀀" + r"\U000e0001"
    )
