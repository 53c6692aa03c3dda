"""`make install`: which build of torch it asks for, with and without an NVIDIA driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Stands for a Python: `-m venv` makes a .venv with a copy of it, all other calls are written down.
STUB = """#!/bin/sh
case "$2" in
    venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    pip) echo "$*" >> calls
         case "$*" in *whl/cpu*) exit "${FAILS:-0}" ;; esac ;;
esac
"""


def install(tree: Path, *options: str, **environment: str) -> tuple[list[str], str]:
    """Run `make install` with a stub of Python; return the calls of pip, and what was printed."""
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tree / name)
    stub = tree / "python-stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"PYTHON={stub}", *options],
        cwd=tree,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (tree / "calls").read_text().splitlines()
    assert "--editable .[clean,dev]" in calls[-1] and "--constraint constraints.txt" in calls[-1]
    return [call for call in calls if "--no-deps" in call], done.stdout


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="needs make"),
]


@pytest.mark.parametrize(
    ("options", "wants_cpu"),
    [
        (["NVIDIA="], True),
        (["NVIDIA=/usr/bin/nvidia-smi"], False),
        (["NVIDIA=", "PIP_ARGS=--index-url mirror"], False),
        (["NVIDIA=", "TORCH=usual"], False),
        (["NVIDIA=/usr/bin/nvidia-smi", "TORCH=cpu"], True),
        (["NVIDIA=", "TORCH=cpu", "PIP_ARGS=--index-url mirror"], True),
    ],
)
def test_the_cpu_build_is_asked_for_where_there_is_no_driver_and_no_choice(
    tmp_path: Path, options: list[str], wants_cpu: bool
) -> None:
    asked, _ = install(tmp_path, *options)
    assert len(asked) == wants_cpu
    assert all(" --index-url " in call and call.endswith("whl/cpu torch") for call in asked)


def test_an_index_that_does_not_answer_does_not_end_the_installation(tmp_path: Path) -> None:
    asked, text = install(tmp_path, "NVIDIA=", FAILS="1")
    assert len(asked) == 1 and "--retries 0" in asked[0]
    assert "does not answer; the usual build follows" in text


def test_the_index_can_be_another_one(tmp_path: Path) -> None:
    asked, _ = install(tmp_path, "NVIDIA=", "TORCH_INDEX=file:///mirror/whl/cpu")
    assert asked[0].endswith("--index-url file:///mirror/whl/cpu torch")


def test_packages_that_other_tools_cannot_have_newer_are_held_back() -> None:
    """Pillow 13 gives a Gradio of long ago, protobuf 7 excludes SwanLab."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line and ";" not in line)
    assert int(versions["pillow"].split(".")[0]) < 13
    assert int(versions["protobuf"].split(".")[0]) < 7
