"""The README's story, command by command, on the demo corpus with a tiny model.

The command that goes back to a checkpoint is the one of docs/en/resume.md.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import forked_ranks
import pytest
from patience import LIMIT

from gpt2zh.acts.pretrain import main
from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.port import free_port

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.ranks

# What makes each command of the README small enough for a test.
PREPARE = ["--validation-fraction=0.05"]
PRETRAIN = [
    *("--model.layers=1", "--model.heads=2", "--model.width=32", "--train.precision=fp32"),
    *("--train.global-batch=4", "--train.micro-batch=2", "--train.steps=6", "--log.every=1"),
    *("--checkpoint.every=2steps", "--validation.rows=2", "--optimizer.warmup-steps=1"),
]
GENERATE = ["--max-new-tokens=8", "--seed=1"]


def story(page: str) -> list[str]:
    """The commands of the block that follows the mark `<!-- story -->`, comments left out."""
    text = (ROOT / page).read_text("utf-8")
    (block,) = re.findall(r"<!-- story -->\n+```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = block.replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def taken_apart(command: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a command line sets at its beginning, and the rest of it."""
    first = next(place for place, word in enumerate(command) if "=" not in word)
    return dict(word.split("=", 1) for word in command[:first]), command[first:]


def run(command: list[str], folder: Path, *, code: int = 0) -> str:
    """Run a command of the README in `folder` and return what it printed."""
    variables, command = taken_apart(command)
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == code, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_forks(argv: list[str], log: Path) -> str:
    """Do the same to a training's options, on forks: they need not import torch again."""
    assert forked_ranks.launch(main, argv, ranks=2, log=log) == Exit.DONE, log.read_text("utf-8")
    return log.read_text("utf-8")


def test_both_readmes_tell_the_same_story() -> None:
    assert story("README.md") == story("README.zh.md")
    assert story("docs/en/resume.md") == story("docs/zh/resume.md")


def test_the_commands_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("launcher", "configs", "ds_configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "demo" / "corpus", tmp_path / "corpus")
    (tmp_path / "corpus" / "novel.txt").write_text("从前有座山，山里有座庙。\n" * 40, "utf-8")
    prepare, pretrain, generate = (shlex.split(line) for line in story("README.md"))
    (resume,) = (shlex.split(line) for line in story("docs/en/resume.md"))

    printed = run([*prepare, *PREPARE], tmp_path)
    assert "0 set aside" in printed

    script = pretrain.index("launcher/pretrain.py")
    assert pretrain[:script] == ["DS_ACCELERATOR=cpu", "deepspeed", "--num_accelerators", "2"]
    assert resume[: script + 1] == pretrain[: script + 1]
    port = f"--master_port={free_port()}"
    stopping = [*pretrain[:script], port, *pretrain[script:], *PRETRAIN, "--stop-after=3steps"]
    printed = run(stopping, tmp_path, code=Exit.STOPPED)
    assert "stopped at step 3 of 6" in printed

    monkeypatch.chdir(tmp_path)
    printed = run_forks([*pretrain[script + 1 :], *PRETRAIN], tmp_path / "again.txt")  # the same
    assert "continuing from runs/tiny/checkpoint-3 at step 3" in printed
    assert "done: 6 steps" in printed

    # The page goes back to checkpoint-500 of a long run; this one has checkpoint-4.
    back = [word.replace("checkpoint-500", "checkpoint-4") for word in resume[script + 1 :]]
    printed = run_forks([*back, *PRETRAIN], tmp_path / "back.txt")
    assert "continuing from runs/tiny/checkpoint-4 at step 4" in printed

    last = [word.replace("checkpoint-500", "checkpoint-6") for word in generate]
    printed = run([*last, *GENERATE], tmp_path)
    assert printed.startswith("从前有座山")


def test_the_demo_script_runs(tmp_path: Path) -> None:
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "",
        "OUT": str(tmp_path / "out"),
        "STEPS": "6",
    }
    script = ["bash", str(ROOT / "demo" / "run.sh")]
    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped at step 3 of 6" in done.stdout and "done: 6 steps" in done.stdout
    assert f"checkpoint   {tmp_path}/out/run/checkpoint-6" in done.stdout
    assert "tensorboard --logdir" in done.stdout
