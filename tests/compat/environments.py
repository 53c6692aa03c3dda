"""Virtual environments with other versions, which use the torch of this one.

Each holds only what differs. So three of them are small, and torch is not downloaded again.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

RUNS = {
    "4.46": ["transformers==4.46.3"],  # the oldest that is promised
    "4.51": ["transformers==4.51.3"],
    "lm-eval": ["lm-eval==0.4.13"],  # with this project's transformers
}
"""What is installed, by the name of the environment."""

QUICK = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "DS_ACCELERATOR": "cpu"}
"""Settings of all processes, unless they are set: threads make tiny matrices slower."""


class EnvironmentFailed(Exception):
    """pip could not install what is needed."""


def make(folder: Path, name: str) -> Path:
    """Make an environment unless it is there, and return its Python.

    Args:
        folder: Where the environments are.
        name: A key of `RUNS`.

    Raises:
        EnvironmentFailed: With the last lines of pip.
    """
    place = folder / name
    python = place / "bin" / "python"
    complete = place / "complete"
    if complete.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "zz_this_environment.pth").write_text("\n".join(here) + "\n", "utf-8")
    more = shlex.split(os.environ.get("PIP_ARGS", ""))
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *more, *RUNS[name]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise EnvironmentFailed(f"pip cannot install {' '.join(RUNS[name])}:\n{last}")
    complete.touch()
    return python


def run(python: Path, script: Path, *arguments: Path) -> None:
    """Run a script of this folder in an environment.

    Raises:
        subprocess.CalledProcessError: It failed; what it printed was shown.
    """
    command = [str(python), str(script), *map(str, arguments)]
    done = subprocess.run(
        command, env=QUICK | os.environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        done.check_returncode()
