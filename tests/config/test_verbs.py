"""A command with verbs: which one runs, with which options, and what a wrong one is answered."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.config.verbs import Verb, run_verbs


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Which file."""

    file: str = "none"
    """Name of the file that is shown or checked."""


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """How much of it."""

    size: int = 1
    """Number of lines that are shown."""


def show(file: FileOptions, size: SizeOptions) -> None:
    print(f"show {file.file} {size.size}")


def check_file(options: FileOptions) -> int:
    print(f"check {options.file}")
    return 3


def refuse(options: FileOptions) -> None:
    raise UserError(f"{options.file} is empty")


def wait(options: FileOptions) -> None:
    raise KeyboardInterrupt


VERBS = (
    Verb("show", (FileOptions, SizeOptions), f"{__name__}:show", "show a file", "file"),
    Verb("check file", FileOptions, f"{__name__}:check_file", "check a file", "file"),
    Verb("check nothing", FileOptions, f"{__name__}:refuse", "refuse every file"),
    Verb("wait", FileOptions, f"{__name__}:wait", "wait for Ctrl-C"),
    Verb("broken", FileOptions, "no_such_module:run", "never imported"),
)


def call(*argv: str) -> int:
    return run_verbs(prog="tool", description="A tool.", verbs=VERBS, argv=argv)


@pytest.mark.parametrize(
    ("argv", "code", "printed"),
    [
        (["show"], 0, "show none 1\n"),
        (["show", "a.txt", "--size=2"], 0, "show a.txt 2\n"),
        (["show", "--size=2", "--file=a.txt"], 0, "show a.txt 2\n"),
        (["check", "file", "a.txt"], 3, "check a.txt\n"),
    ],
)
def test_a_verb_of_one_or_two_words_gets_its_options(
    argv: list[str], code: int, printed: str, capsys: pytest.CaptureFixture
) -> None:
    assert call(*argv) == code
    assert capsys.readouterr() == (printed, "")


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (["shwo"], 2, "error: unknown verb 'shwo'; did you mean show?\n"),
        (["check", "fiel"], 2, "unknown verb 'check fiel'; known: check file, check nothing\n"),
        (["check"], 2, "unknown verb 'check'; known: check file, check nothing\n"),
        (["show", "--sise=2"], 2, "did you mean --size?"),
        (["check", "nothing", "a.txt"], 2, "'a.txt' does not belong to an option"),
        (["check", "nothing", "--file=a.txt"], 2, "error: a.txt is empty\n"),
        (["wait"], 130, "interrupted\n"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(
    argv: list[str], code: int, told: str, capsys: pytest.CaptureFixture
) -> None:
    assert call(*argv) == code
    out, error = capsys.readouterr()
    assert out == "" and told in error and "Traceback" not in error


def test_a_list_of_all_verbs_is_help_if_asked_for_and_else_an_error(
    capsys: pytest.CaptureFixture,
) -> None:
    assert call("--help") == call("check", "-h") == 0
    out, error = capsys.readouterr()
    assert error == "" and out.count("usage: tool <verb> [options]\n\nA tool.\n") == 2
    assert all(f"  {verb.name:<16} {verb.summary}\n" in out for verb in VERBS)
    assert call() == 2
    assert capsys.readouterr() == ("", out[: len(out) // 2])


def test_the_help_of_a_verb_comes_without_its_module(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leaving:
        call("broken", "--help")
    assert not leaving.value.code and "--file" in capsys.readouterr().out
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        call("broken")


def test_without_arguments_it_takes_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "show", "b.txt"])
    assert run_verbs(prog="tool", description="", verbs=VERBS) == 0
    assert capsys.readouterr().out == "show b.txt 1\n"
