"""`gpt2zh generate`: what it prints, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from generating import GREEDY, SAMPLED

from gpt2zh.__main__ import VERBS
from gpt2zh.config.verbs import run_verbs
from gpt2zh.generation.text import TextGenerator


def command(*argv: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gpt2zh", "generate", *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_prints_prompts_and_continuations(
    folder: Path, generator: TextGenerator, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("水上\n\n火\n", "utf-8")
    options = ("--max-new-tokens=8", "--seed=7", "--temperature=1", "--top-k=0", "--top-p=1")
    done = command(folder, "--prompt", "山", f"--prompt-file={tmp_path / 'prompts.txt'}",
                   "--samples=2", *options)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    expected = ""
    sampling = dataclasses.replace(SAMPLED, max_new_tokens=8)
    for prompt in ("山", "水上", "火"):
        for number in range(2):
            text = generator.write(prompt, sampling.for_sample(number))
            expected += f"--- {prompt} [{number + 1}/2]\n{prompt}{text}\n"
    assert done.stdout == expected


def in_process(*argv: object) -> int:
    """The same command without a new process: starting one takes seconds."""
    return run_verbs(prog="gpt2zh", description="", verbs=VERBS, argv=["generate", *map(str, argv)])


@pytest.mark.parametrize("stream", ["true", "false"])
def test_the_command_prints_one_text_plainly(
    folder: Path, generator: TextGenerator, capsys: pytest.CaptureFixture, stream: str
) -> None:
    greedy = ("--temperature=0", "--max-new-tokens=16", f"--stream={stream}")
    assert in_process("--model", folder, "--prompt=山上", *greedy) == 0
    assert capsys.readouterr() == (f"山上{generator.write('山上', GREEDY)}\n", "")


def test_a_prompt_is_a_line_of_an_editor_without_the_mark_of_the_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff山\u2028上\r\n水\x0c火\x85\r云\n".encode())
    assert in_process(folder, f"--prompt-file={path}", "--max-new-tokens=1", "--temperature=0") == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.split("\n") if line.startswith("---")] == [
        f"--- {prompt} [1/1]" for prompt in ("山\u2028上", "水\x0c火\x85", "云")
    ]


def test_a_prompt_file_in_another_encoding_is_refused_with_a_cure(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("山上".encode("gb18030"))
    assert in_process(folder, f"--prompt-file={path}") == 2
    assert "prompts.txt is not UTF-8 (byte 0xC9 at byte 2); convert" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--prompt=山"], ["has no config.json", "checkpoint-5: use one of them"]),
        (["--prompt-file=missing.txt"], ["--prompt-file missing.txt", "No such file"]),
        (["--temperature=-1"], ["temperature is -1"]),
        (["--device=gpu"], ["device", "gpu", "known are auto, cpu, cuda"]),
    ],
)
def test_the_command_refuses_on_one_line(
    folder: Path, capsys: pytest.CaptureFixture, argv: list[str], expected: list[str]
) -> None:
    assert in_process(folder.parent, *argv) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and "Traceback" not in error
    assert not [part for part in expected if part not in error], error


def test_the_command_refuses_a_gpu_that_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert in_process(folder, "--device=cuda") == 2
    assert "--device is cuda, but torch finds no GPU; use --device cpu" in capsys.readouterr().err


def test_the_saved_folder_names_its_special_tokens(folder: Path, generator: TextGenerator) -> None:
    saved = json.loads((folder / "generation_config.json").read_text("utf-8"))
    assert saved["eos_token_id"] == generator.tokenizer.eos_id
    assert saved["pad_token_id"] == generator.tokenizer.pad_id
