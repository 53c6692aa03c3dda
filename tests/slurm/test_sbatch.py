"""slurm/pretrain.sbatch on a real cluster; skipped where none answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import wait_until

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "slurm" / "pretrain.sbatch"


def answers() -> bool:
    """Whether a SLURM cluster can be asked."""
    if shutil.which("sinfo") is None:
        return False
    done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True)
    return done.returncode == 0 and bool(done.stdout.strip())


on_slurm = [
    pytest.mark.slurm,
    pytest.mark.skipif(not answers(), reason="no SLURM cluster answers sinfo"),
]


@pytest.mark.slow
def test_the_script_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.parametrize("case", [pytest.param("two nodes", marks=on_slurm)])
def test_a_job_on_two_nodes_saves_when_the_time_is_nearly_over(
    tiny_shards: Path, tmp_path: Path, case: str
) -> None:
    log = tmp_path / "job.log"
    run = tmp_path / "run"
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    command = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", f"--output={log}"]
    command += [str(SCRIPT), "--config=configs/gpt2-tiny.yaml", "--model.width=32"]
    command += ["--model.context=32", f"--data={tiny_shards}", f"--output={run}"]
    command += ["--train.steps=1000000", "--checkpoint.every=never"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    job = done.stdout.strip().split(";")[0]
    try:
        wait_until(lambda: log.exists() and "step 10/" in log.read_text())
        assert "2 ranks" in log.read_text()
        # What SLURM sends two minutes before the end of the time.
        subprocess.run(["scancel", "--signal=USR1", job], check=True)
        wait_until(lambda: "start again to continue" in log.read_text())
        assert len(list(run.glob("checkpoint-*"))) == 1
    finally:
        subprocess.run(["scancel", job], check=True)
