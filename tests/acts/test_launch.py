"""launcher/pretrain.py as users start it, by `deepspeed`.

That command imports torch four times for two ranks; so where it does not matter who started them,
the ranks are forks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked_ranks
import psutil
import pytest
import torch
from patience import LIMIT, wait_until

from gpt2zh.acts import pretrain
from gpt2zh.config.exit_codes import Exit
from gpt2zh.files.run_folder import find_faults
from gpt2zh.ranks.port import free_port

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.ranks
DONE, REFUSED, STOPPED = Exit.DONE, Exit.REFUSED, Exit.STOPPED

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "DS_ACCELERATOR": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}


def options(shards: Path, output: Path, *more: str) -> list[str]:
    """Of a tiny run on the CPU."""
    return [
        f"--config={ROOT}/configs/gpt2-tiny.yaml",
        "--model.width=32",
        "--model.context=32",
        f"--data={shards}",
        f"--output={output}",
        *more,
    ]


def command(shards: Path, output: Path, *more: str) -> list[str]:
    """The command line of a tiny run on two CPU ranks."""
    return [
        "deepspeed",
        "--quiet",
        "--num_accelerators=2",
        f"--master_port={free_port()}",
        "launcher/pretrain.py",
        *options(shards, output, *more),
    ]


def run_forks(log: Path, *argv: str, ranks: int = 2) -> tuple[int, str]:
    """The exit code of forks with these options, and what they printed."""
    code = forked_ranks.launch(pretrain.main, argv, ranks=ranks, log=log)
    return code, log.read_text("utf-8")


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in the project's folder."""
    return subprocess.run(
        arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT
    )


def living(session: int) -> list[psutil.Process]:
    """Processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def checkpoints(run_folder: Path) -> list[str]:
    """Names of the checkpoints of a run, and of anything half written."""
    return sorted(path.name for path in run_folder.iterdir() if "checkpoint" in path.name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """A run to step 30 that kept checkpoints 10, 20, 25 and 30 of 5, 10, ... 30."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = run(
        command(
            tiny_shards,
            folder,
            "--train.steps=30",
            "--checkpoint.every=5steps",
            "--checkpoint.keep-last=2",
            "--checkpoint.keep-every=10",
            "--validation.every=15steps",
            "--log.every=10",
            "--optimizer.warmup-steps=5",
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder.parent / "output.txt").write_text(done.stdout)
    return folder


def test_a_user_sees_our_lines_and_not_the_libraries(finished: Path) -> None:
    lines = (finished.parent / "output.txt").read_text().splitlines()
    known = (
        "run ", "model ", "data ", "batch ", "steps ", "engine ", "memory ", "step ", "saved ",
        "validation ", "  ", "done: ", "checkpoint ", "curves ", "write ",
    )  # fmt: skip
    assert [line for line in lines if line and not line.startswith(known)] == []
    assert sum(line.startswith("memory ") for line in lines) == 1
    assert sum(line.startswith("step ") for line in lines) == 4  # 1, 10, 20, 30


def test_every_save_tells_how_long_it_took_and_how_long_the_training_stood_still(
    finished: Path,
) -> None:
    lines = (finished.parent / "output.txt").read_text().splitlines()
    form = r"saved (\S+) \((\d+\.\d) s; training paused for (\d+\.\d\d) s\)"
    saved = [re.fullmatch(form, line) for line in lines if line.startswith("saved ")]
    assert all(saved)
    steps = range(5, 35, 5)
    assert [match[1] for match in saved] == [f"{finished}/checkpoint-{step}" for step in steps]
    assert all(float(match[3]) <= float(match[2]) + 0.05 for match in saved)


def test_the_model_learns(finished: Path) -> None:
    records = [json.loads(line) for line in (finished / "metrics.jsonl").open()]
    losses = {r["step"]: r["loss"] for r in records if r["kind"] == "train"}
    scores = {r["step"]: r for r in records if r["kind"] == "validation"}
    assert list(losses) == [1, 10, 20, 30] and list(scores) == [15, 30]
    assert losses[30] < losses[1] - 1.0
    assert scores[30]["bits_per_character"] < scores[15]["bits_per_character"]
    assert {"lr", "gradient_norm", "tokens_per_second", "memory_gib", "epoch"} <= records[0].keys()


def test_only_the_wanted_checkpoints_are_kept(finished: Path) -> None:
    assert checkpoints(finished) == [f"checkpoint-{step}" for step in (10, 20, 25, 30)]


def test_a_checkpoint_is_a_hugging_face_folder(finished: Path, tiny_shards: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished / "checkpoint-30"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "GPT2LMHeadModel" and model.dtype == torch.float32
    manifest = json.loads((tiny_shards / "manifest.json").read_text())["tokenizer"]
    settings = model.generation_config
    assert (settings.eos_token_id, settings.pad_token_id) == (
        manifest["eos_id"],
        manifest["pad_id"],
    )
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        manifest["eos_id"],
        manifest["pad_id"],
    )
    assert tokenizer.bos_token_id == settings.bos_token_id == manifest["eos_id"]
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", 32)
    saved = json.loads((folder / "config.json").read_text())
    assert saved["n_ctx"] == saved["n_positions"] == 32
    assert saved["torch_dtype"] == saved["dtype"] == "float32"
    assert saved["bos_token_id"] == saved["document_start_token_id"] == manifest["eos_id"]
    ids = tokenizer("春风", return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == "春风"
    written = model.generate(ids, max_new_tokens=20, do_sample=True)
    assert int(written.max()) < manifest["vocab_size"] <= model.config.vocab_size
    assert model.config.vocab_size % 128 == 0


def test_run_folder_and_checkpoint_hold_the_resolved_configs(finished: Path) -> None:
    for folder in (finished, finished / "checkpoint-30"):
        resolved = json.loads((folder / "deepspeed.json").read_text())
        assert resolved["train_batch_size"] == 8 and resolved["gradient_accumulation_steps"] == 1
        assert "width: 32" in (folder / "config.yaml").read_text()


def test_the_saved_config_reproduces_the_run(finished: Path, tmp_path: Path) -> None:
    again = (f"--config={finished}/config.yaml", f"--output={tmp_path}/again")
    code, printed = run_forks(tmp_path / "log.txt", *again)
    assert code == DONE, printed
    ours = (finished / "checkpoint-30" / "model.safetensors").read_bytes()
    assert (tmp_path / "again" / "checkpoint-30" / "model.safetensors").read_bytes() == ours


def test_resume_of_a_named_checkpoint_sets_later_ones_aside(
    finished: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    back = (f"--resume={folder}/checkpoint-10", "--stop-after=5steps", "--train.steps=30")
    code, printed = run_forks(tmp_path / "log.txt", *options(tiny_shards, folder, *back))
    assert code == STOPPED, printed
    assert f"continuing from {folder}/checkpoint-10 at step 10" in printed
    assert checkpoints(folder) == [
        "checkpoint-10",
        "checkpoint-15",
        "superseded-checkpoint-20",
        "superseded-checkpoint-25",
        "superseded-checkpoint-30",
    ]
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").open()]
    assert max(steps) == 15 and steps == sorted(steps)


def test_a_run_saves_by_the_clock_and_stops_by_it(tiny_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    clock = ("--checkpoint.every=1s", "--checkpoint.keep-last=2", "--stop-after=5s")
    endless = options(tiny_shards, folder, "--train.steps=1000000", *clock)
    code, printed = run_forks(tmp_path / "log.txt", *endless)
    assert code == STOPPED and "(stop-after)" in printed
    assert 3 <= printed.count("\nsaved ") <= 6  # after each second but the last, and at the end
    assert len(checkpoints(folder)) == 2


def test_an_error_is_told_once_and_nothing_is_written(tiny_shards: Path, tmp_path: Path) -> None:
    done = run(command(tiny_shards, tmp_path / "run", "--model.context=64", "--train.epoch=3"))
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors == ["error: unknown option --train.epoch; did you mean --train.epochs?"]
    assert not (tmp_path / "run").exists()


def test_what_only_rank_0_finds_ends_all_ranks_at_once(tiny_shards: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    process = subprocess.Popen(
        command(tiny_shards, tmp_path / "run", f"--resume={tmp_path}/nothing"),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("is not a complete checkpoint" in line for line in process.stderr)
    found = time.monotonic()
    process.stderr.read()  # ends with the last rank
    assert process.wait(LIMIT) != 0
    # The launcher kills after 30 s what does not end; a start takes a few.
    assert time.monotonic() - found < 4 * (found - started)


def test_deepspeed_itself_checks_the_json(tiny_shards: Path, tmp_path: Path) -> None:
    json_file = tmp_path / "typo.json"
    json_file.write_text('{"zero_optimization": {"stage": 1, "reduce_bucketsize": 5}}')
    more = (f"--deepspeed-config={json_file}", "--dry-run")
    argv = options(tiny_shards, tmp_path / "run", *more)
    code, printed = run_forks(tmp_path / "log.txt", *argv, ranks=1)
    assert code == REFUSED and printed.count("zero_optimization.reduce_bucketsize") == 1
    json_file.write_text('{"train_batch_size": 3, "compile": {"backend": "x"}, "elasticity": {}}')
    code, printed = run_forks(tmp_path / "more.txt", *argv, "--train.epochs=0", ranks=1)
    ours = ("train.epochs is 0", "set --train.global_batch 3", "elasticity was removed")
    theirs = ("compile.backend: Extra inputs", "elasticity: Elastic training has been removed")
    assert code == REFUSED and not [part for part in (*ours, *theirs) if part not in printed]


def test_dry_run_prints_the_plan_and_writes_nothing(tiny_shards: Path, tmp_path: Path) -> None:
    dry = ("--dry-run", "--train.steps=1000")
    log = tmp_path / "log.txt"
    code, printed = run_forks(log, *options(tiny_shards, tmp_path / "run", *dry))
    assert code == DONE
    for wanted in ("256 tokens per step", "steps per epoch", "M parameters", "GFLOPs per token"):
        assert printed.count(wanted) == 1, printed
    large = options(tiny_shards, tmp_path / "run", "--dry-run", "--train.global-batch=4000")
    code, printed = run_forks(tmp_path / "large.txt", *large, ranks=1)
    assert code == REFUSED
    assert printed.count("training rows") == 1 and "smaller global batch" in printed
    assert not (tmp_path / "run").exists()


def test_a_signal_saves_and_ends_every_process(tiny_shards: Path, tmp_path: Path) -> None:
    """Whatever sends it; the same command continues."""
    folder = tmp_path / "run"
    endless = ("--train.steps=1000000", "--log.every=5")
    step = 0
    for how in ("ctrl-c", "sigterm to all", "sigterm to the command alone"):
        started = time.monotonic()
        process = subprocess.Popen(
            command(tiny_shards, folder, *endless),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if (found := re.match(r"step (\d+)/", line)) and int(found[1]) >= step + 10:
                break
        begun = time.monotonic()
        if how == "sigterm to the command alone":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
        lines += process.stdout.read().splitlines(keepends=True)  # to the end of the last rank
        process.wait(LIMIT)
        assert time.monotonic() - begun < 2 * (begun - started), how
        text = "".join(lines)
        assert "start again to continue" in text, how + text
        assert not step or f"continues from {folder}/checkpoint-{step}" in text, how + text
        step = max(int(name.removeprefix("checkpoint-")) for name in checkpoints(folder))
        assert not find_faults(folder / f"checkpoint-{step}", content=True)
        wait_until(lambda session=process.pid: not living(session))
    last = options(tiny_shards, folder, *endless, "--stop-after=1steps")
    code, printed = run_forks(tmp_path / "log.txt", *last, ranks=1)
    assert code == STOPPED and f"continues from {folder}/checkpoint-{step}" in printed
