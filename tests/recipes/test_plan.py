"""What bad input gets, before any GPU is taken, and what a dry run tells."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.data.shard import ShardSet
from gpt2zh.dist.world import World
from gpt2zh.recipes.announce import announce, describe
from gpt2zh.recipes.plan import Plan, make_plan
from gpt2zh.text.tokenizer import load_tokenizer
from gpt2zh.train import folder

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "launcher" / "pretrain.py"


def arguments(data: Path, output: Path, **more: object) -> list[str]:
    """The command line of a tiny run; `model__width=4` becomes `--model.width=4`."""
    options = {
        "data": data,
        "output": output,
        "deepspeed_config": ROOT / "ds_configs" / "zero1.json",
        "model__layers": 2,
        "model__heads": 2,
        "model__width": 30,
        "model__context": 32,
        "train__global_batch": 8,
        "train__micro_batch": 2,
        **more,
    }
    return [f"--{name.replace('__', '.')}={value}" for name, value in options.items()]


def plan_of(data: Path, output: Path, world: World = World(), **more: object) -> Plan:  # noqa: B008
    argv = arguments(data, output, **more)
    return make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), world)


def refused(data: Path, output: Path, world: World = World(), **more: object) -> str:  # noqa: B008
    """The message for a run that cannot start; nothing may be written meanwhile."""
    around = output if output.exists() else output.parent
    before = snapshot(around)
    with pytest.raises(UserError) as caught:
        plan_of(data, output, world, **more)
    assert snapshot(around) == before
    return str(caught.value)


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder of ours with its bytes."""
    if not str(root).startswith("/tmp") or not root.is_dir():
        return {}
    return {str(p): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


@pytest.fixture
def shards(tiny_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards, which a test may damage."""
    return Path(shutil.copytree(tiny_shards, tmp_path / "shards"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small"


def save_checkpoint(plan: Plan, step: int) -> Path:
    """A complete checkpoint folder of this run, as far as a plan reads it."""
    target = plan.config.output
    temporary = folder.begin(target, step)
    state = {"progress": {"step": step}}
    (temporary / folder.STATE).write_text(json.dumps(state), "utf-8")
    for name, text in plan.texts().items():
        (temporary / name).write_text(text, "utf-8")
    (temporary / "model.safetensors").write_bytes(b"weights" * 9)
    entries = folder.describe(temporary.iterdir())
    folder.commit(temporary, folder.checkpoint_path(target, step), entries)
    for name, text in plan.texts().items():
        (target / name).write_text(text, "utf-8")
    return folder.checkpoint_path(target, step)


def test_the_numbers_of_a_run(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    held_out = ShardSet.open(tiny_shards, "validation").rows
    used = load_tokenizer(tiny_shards / "tokenizer").vocab_size
    padded = math.ceil(used / 128) * 128
    weights = 12 * 2 * 30 * 30 + padded * 30
    others = 32 * 30 + 2 * 13 * 30 + 2 * 30  # positions; biases and norms
    plan = plan_of(tiny_shards, run, World(0, 2), train__epochs=2.5)
    assert plan.tokens_per_step == 256
    assert plan.steps == math.ceil(2.5 * rows / 8)
    assert plan.parameters == weights + others
    assert plan.flops_per_token == 6 * weights + 12 * 2 * 30 * 32
    text = " ".join(describe(plan).split())
    for part in (
        f"{run}: starts from scratch",
        "2 layers x 30, context 32",
        f"vocabulary {padded:,} ({used:,} used)",
        f"{plan.parameters / 1e6:.2f} M parameters",
        f"{plan.flops_per_token / 1e9:.4f} GFLOPs per token",
        f"{rows} training rows ({rows * 32:,} tokens), {held_out} validation rows",
        "8 rows = 256 tokens per step (2 ranks x 2 rows x 2 accumulated)",
        f"{plan.steps:,} ({rows / 8:.1f} steps per epoch)",
        "ZeRO 1, fp32",
    ):
        assert part in text, (part, text)


@pytest.mark.parametrize("more", [{"train__steps": 7}, {"train__steps": 7, "train__epochs": 0}])
def test_steps_win_over_epochs(tiny_shards: Path, run: Path, more: dict) -> None:
    assert plan_of(tiny_shards, run, **more).steps == 7


def test_the_written_config_reproduces_the_plan(
    tiny_shards: Path, run: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.json"
    theirs.write_text('{"zero_optimization": {"stage": 2, "overlap_comm": false}}')
    plan = plan_of(tiny_shards, run, checkpoint__every="10min", seed=9, deepspeed_config=theirs)
    texts = plan.texts()
    run.mkdir(parents=True)
    for name, text in texts.items():
        (run / name).write_text(text, "utf-8")
    theirs.unlink()  # the run has its own copy
    argv = [f"--config={run / 'config.yaml'}"]
    again = make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), World())
    assert again.resolved == plan.resolved and again.texts() == texts
    assert json.loads(texts["deepspeed.json"]) == plan.resolved


def test_without_held_out_text_a_warning_says_so(
    tiny_vocabulary: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "all",
            tokenizer=str(tiny_vocabulary),
            row_length=32,
            validation_fraction=0.0,
        )
    )
    plan = plan_of(tmp_path / "all", tmp_path / "run")
    assert plan.held_out == ()
    capsys.readouterr()
    announce(plan)
    error = capsys.readouterr().err
    assert "no validation rows" in error and "--validation-fraction" in error
    announce(dataclasses.replace(plan, world=World(1, 2)))
    assert capsys.readouterr() == ("", "")


HEAVY = """
import runpy, sys
sys.argv = sys.argv[1:]
code = None
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as leaving:
    code = leaving.code
print("HEAVY", sorted({"torch", "transformers", "deepspeed"} & set(sys.modules)))
sys.exit(code)
"""


def test_bad_input_is_refused_without_torch_and_nothing_is_written(
    tiny_shards: Path, run: Path
) -> None:
    """No GPU can be taken by a process that never imports torch."""
    argv = arguments(tiny_shards, run, train__global_batch=4000, dry_run="true")
    before = snapshot(tiny_shards)
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, str(LAUNCHER), *argv],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")},
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == "HEAVY []\n" and "less than one train.global_batch" in done.stderr
    assert not run.parent.exists() and snapshot(tiny_shards) == before


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """The launcher in this process, which gets its signals back."""
    main = runpy.run_path(str(LAUNCHER), run_name="launcher")["main"]
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    handlers = {number: signal.getsignal(number) for number in numbers}

    def start(argv: list[str], **env: str) -> int:
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["pretrain.py", *argv])
        return main()

    yield start
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    shards: Path, run: Path, launch: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    before = snapshot(shards.parent)
    assert launch(arguments(shards, run, dry_run="true")) == 0
    assert snapshot(shards.parent) == before
    assert describe(plan_of(shards, run)) in capsys.readouterr().out


def test_a_dry_run_asks_deepspeed_about_its_own_section(
    tiny_shards: Path,
    run: Path,
    tmp_path: Path,
    launch: Callable[..., int],
    capsys: pytest.CaptureFixture,
) -> None:
    path = tmp_path / "ds.json"
    path.write_text(
        '{"zero_optimization": {"stage": 2, "overlap_com": true, "reduce_bucket_size": "big"}}'
    )
    assert launch(arguments(tiny_shards, run, deepspeed_config=path, dry_run="true")) == 2
    error = capsys.readouterr().err
    assert "2 faults" in error and "zero_optimization.overlap_com: " in error
    assert "zero_optimization.reduce_bucket_size: " in error and "'big'" in error
    assert not run.exists()


def test_only_one_rank_speaks(
    tiny_shards: Path, run: Path, launch: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    argv = arguments(tiny_shards, run, train__global_batch=400, dry_run="true")
    for rank, lines in ((0, 1), (1, 0)):
        assert launch(argv, RANK=str(rank), WORLD_SIZE="2") == 2
        out, error = capsys.readouterr()
        assert out == "" and error.count("error: ") == lines


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_manifest(path: Path) -> None:
    table = json.loads(path.read_text("utf-8"))
    table["row_length"] = 64
    path.write_text(json.dumps(table), "utf-8")


DAMAGE: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "truncated": (lambda s: os.truncate(first(s), 700), ["is truncated", "700 bytes", "anew"]),
    "altered": (lambda s: altered(first(s)), ["was altered", "sha256", "copy it anew"]),
    "held-out altered": (lambda s: altered(first(s, "validation")), ["validation", "altered"]),
    "missing": (lambda s: first(s).unlink(), ["is missing", "prepare the shards again"]),
    "other tokenizer": (
        lambda s: load_tokenizer("builtin").save(s / "tokenizer"),
        ["is not the tokenizer that made these shards", "restore it or prepare"],
    ),
    "no tokenizer": (
        lambda s: shutil.rmtree(s / "tokenizer"),
        ["tokenizer", "tokenizer.json"],
    ),
    "no manifest": (lambda s: (s / "manifest.json").unlink(), ["no manifest.json", "prepare"]),
    "half a manifest": (
        lambda s: os.truncate(s / "manifest.json", 300),
        ["manifest.json", "damaged", "prepare the shards again"],
    ),
    "altered manifest": (lambda s: change_manifest(s / "manifest.json"), ["was altered"]),
    "no folder": (shutil.rmtree, ["is no folder", "python -m data_tools prepare"]),
}


def first(shards: Path, split: str = "train") -> Path:
    table = json.loads((shards / "manifest.json").read_text("utf-8"))
    return shards / table["splits"][split]["shards"][0]["file"]


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_shards_are_refused(
    shards: Path, run: Path, damage: Callable[[Path], Any], told: list[str]
) -> None:
    damage(shards)
    message = refused(shards, run)
    assert str(shards) in message
    assert not [part for part in told if part not in message], message


def test_an_altered_byte_is_overlooked_only_on_request_and_on_other_ranks(
    shards: Path, run: Path
) -> None:
    altered(first(shards))
    plan_of(shards, run, verify_data="false")
    plan_of(shards, run, World(1, 2))  # rank 0 reads it for all
    assert "was altered" in refused(shards, run, World(0, 2))


def test_a_corpus_smaller_than_one_global_batch(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    plan_of(tiny_shards, run, train__global_batch=rows, train__micro_batch=1)
    message = refused(tiny_shards, run, train__global_batch=rows + 1, train__micro_batch=1)
    assert f"{rows} training rows" in message and f"train.global_batch of {rows + 1}" in message
    assert "more text or a smaller global batch" in message


@pytest.mark.parametrize("context", [16, 20, 64])
def test_any_context_is_read_from_the_same_shards(
    tiny_shards: Path, run: Path, context: int
) -> None:
    rows = ShardSet.open(tiny_shards, row_length=context).rows
    plan = plan_of(tiny_shards, run, model__context=context, train__global_batch=4)
    assert (plan.training_rows, plan.tokens_per_step) == (rows, 4 * context)
    assert plan.rows.gather(plan.order.at(0, 4)).shape == (4, context)
    with_32 = plan_of(tiny_shards, run, train__global_batch=4)
    assert plan.identity["data"] != with_32.identity["data"]
    assert with_32.identity["data"] == ShardSet.open(tiny_shards).manifest.fingerprint


def test_zero_nlp_rows_of_another_length_than_the_context(
    tiny_shards: Path, tiny_vocabulary: Path, run: Path, tmp_path: Path
) -> None:
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "chunks",
            tokenizer=str(tiny_vocabulary),
            row_length=16,
            packing="zero_nlp",
        )
    )
    message = refused(tmp_path / "chunks", run, model__context=32)
    assert "have 16 tokens and, packed by zero_nlp, cannot be cut to 32" in message
    assert "use model.context 16, or prepare with --row-length 32" in message
    fine = {"model__context": 16, "train__global_batch": 2, "train__micro_batch": 1}
    assert plan_of(tmp_path / "chunks", run, **fine).rows.row_length == 16


def test_a_curriculum_tells_its_steps_and_must_divide_the_context(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    message = refused(tiny_shards, run, train__curriculum="12:3steps,16:2steps")
    assert (
        "sequences of 12 tokens, which do not divide model.context 32; use one of 16, 8" in message
    )
    plan = plan_of(tiny_shards, run, train__curriculum="8:3steps,16:2steps", train__steps=6)
    told = "lengths     8 tokens in steps 1 to 3, 16 tokens in steps 4 to 5, then 32"
    assert told in describe(plan)
    assert [plan.length_at(step) for step in (1, 3, 4, 6)] == [8, 8, 16, 32]
    assert plan.flops_per_token_at(1) < plan.flops_per_token_at(6) == plan.flops_per_token
    capsys.readouterr()
    announce(plan)
    assert "never reaches" not in capsys.readouterr().err
    announce(plan_of(tiny_shards, run, train__curriculum="8:3steps,16:2steps", train__steps=5))
    error = capsys.readouterr().err
    assert "lasts 5 steps but the run only 5: it never reaches the full context of 32" in error


def test_a_json_that_contradicts_the_config(tiny_shards: Path, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"train_batch_size": 99, "zero_optimization": {"stage": 7}}')
    message = refused(tiny_shards, run, deepspeed_config=path)
    assert "train_batch_size is 99" in message and "stage is 7" in message
    message = refused(tiny_shards, run, deepspeed_config=tmp_path / "missing.json")
    assert "missing.json" in message and "see ds_configs/" in message


def test_more_ranks_than_rows(tiny_shards: Path, run: Path) -> None:
    message = refused(tiny_shards, run, World(0, 9))
    assert "9 ranks but train.global_batch is 8 rows" in message
    assert "at most 8 ranks or raise train.global_batch" in message


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"model__layers": 0}, "model.layers is 0; it must be 1 or more"),
        ({"model__heads": 4}, "model.width 30 is no multiple of model.heads 4"),
        ({"model__dropout": 1.0}, "model.dropout is 1.0"),
        ({"train__epochs": 0}, "train.epochs is 0.0"),
        ({"train__steps": 0}, "train.steps is 0"),
        ({"optimizer__lr": 0}, "optimizer.lr is 0.0"),
        ({"optimizer__decay_fraction": 0}, "optimizer.decay_fraction is 0.0"),
        ({"optimizer__clip": -1}, "optimizer.clip is -1.0"),
        ({"checkpoint__keep_last": 0}, "checkpoint.keep_last is 0"),
        ({"log__every": 0}, "log.every is 0"),
        ({"train__global_batch": 0}, "train.global_batch is 0"),
        ({"train__micro_batch": 0}, "train.micro_batch is 0"),
        ({"train__epochs": ".inf"}, "train.epochs is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"optimizer__beta1": 1.0}, "optimizer.beta1 is 1.0"),
        ({"optimizer__beta2": 1.0}, "optimizer.beta2 is 1.0"),
        ({"optimizer__eps": -1e-8}, "optimizer.eps is -1e-08"),
        ({"optimizer__weight_decay": -0.1}, "optimizer.weight_decay is -0.1"),
        ({"optimizer__warmup_steps": -1}, "optimizer.warmup_steps is -1"),
        ({"optimizer__final_lr_fraction": -0.1}, "optimizer.final_lr_fraction is -0.1"),
        ({"validation__rows": -1}, "validation.rows is -1"),
        ({"validation__sample_tokens": -1}, "validation.sample_tokens is -1"),
        ({"checkpoint__keep_every": -1}, "checkpoint.keep_every is -1"),
        ({"validation__prompts": "山" * 40}, "validation.prompts"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_without_a_meaning_are_refused(
    tiny_shards: Path, run: Path, more: dict, told: str
) -> None:
    assert told in refused(tiny_shards, run, **more)


def test_several_faults_are_told_in_one_message(shards: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"gradient_clipping": 7.0}')
    altered(first(shards))
    message = refused(
        shards,
        run,
        deepspeed_config=tmp_path / "ds.json",
        model__heads=4,
        train__curriculum="7:1steps",
        train__global_batch=4000,
    )
    assert "5 faults" in message
    for part in (
        "model.heads 4",
        "gradient_clipping is 7.0",
        "was altered",
        "sequences of 7 tokens",
        "less than one train.global_batch",
    ):
        assert part in message


@pytest.mark.parametrize("case", ["a file", "below a file", "read-only"])
def test_an_output_that_cannot_be_written(tiny_shards: Path, tmp_path: Path, case: str) -> None:
    """The suite may run as root, whom no permission stops: but a file is no folder."""
    file = tmp_path / "file"
    file.write_text("x")
    target = {"a file": file, "below a file": file / "a" / "b", "read-only": Path("/proc/run")}
    message = refused(tiny_shards, target[case])
    assert f"--output {target[case]} cannot be written" in message
    assert "choose a folder that can" in message


def test_a_disk_that_is_too_small(tiny_shards: Path, run: Path) -> None:
    message = refused(tiny_shards, run, model__layers=100_000, model__width=8192)
    assert "GiB free but checkpoints need" in message and "keep fewer" in message


def test_a_run_continues_from_its_newest_complete_checkpoint(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = plan_of(tiny_shards, run)
    older, newer = save_checkpoint(plan, 9), save_checkpoint(plan, 10)
    found = plan_of(tiny_shards, run)
    assert found.resume_from == newer
    assert f"continues from {newer}" in describe(found)
    capsys.readouterr()
    altered(newer / "model.safetensors")
    assert plan_of(tiny_shards, run).resume_from == older
    error = capsys.readouterr().err
    assert str(newer) in error and "an older checkpoint is used" in error
    assert plan_of(tiny_shards, run, World(1, 2)).resume_from is None  # rank 0 tells the others


def test_what_may_change_when_a_run_continues(tiny_shards: Path, run: Path) -> None:
    newest = save_checkpoint(plan_of(tiny_shards, run), 3)
    for more in (
        {"train__micro_batch": 4},
        {"train__precision": "bf16"},
        {"train__epochs": 9},
        {"optimizer__lr": 1e-5},
        {"deepspeed_config": ROOT / "ds_configs" / "zero3.json"},
    ):
        assert plan_of(tiny_shards, run, World(0, 2), **more).resume_from == newest


def test_moved_data_are_the_same_data(tiny_shards: Path, shards: Path, run: Path) -> None:
    newest = save_checkpoint(plan_of(tiny_shards, run), 3)
    assert plan_of(shards, run).resume_from == newest


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"seed": 2}, "seed: 1 in"),
        ({"model__width": 32}, "model.width: 30 in"),
        ({"train__global_batch": 4}, "global_batch: 8 in"),
        ({"model__dropout": 0.1}, "model.dropout: 0.0 in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("how", ["newest", "named", "no checkpoint"])
def test_an_output_folder_that_holds_another_run(
    tiny_shards: Path, run: Path, more: dict, told: str, how: str
) -> None:
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 3)
    options = dict(more)
    if how == "named":
        options["resume"] = checkpoint
    if how == "no checkpoint":
        shutil.rmtree(checkpoint)
    message = refused(tiny_shards, run, **options)
    assert told in message and str(run) in message
    assert "use another --output" in message


def test_an_output_folder_of_a_run_on_other_data(
    tiny_shards: Path, tiny_vocabulary: Path, run: Path, tmp_path: Path
) -> None:
    save_checkpoint(plan_of(tiny_shards, run), 3)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text(tiny_vocabulary.read_text("utf-8") + "##zz\n", "utf-8")
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "other",
            tokenizer=str(vocabulary),
            row_length=32,
            validation_fraction=0.2,
        )
    )
    message = refused(tmp_path / "other", run)
    assert "2 faults" in message and "tokenizer: " in message and "data: " in message


def test_resume_of_one_run_into_the_folder_of_another(
    tiny_shards: Path, run: Path, tmp_path: Path
) -> None:
    mine = save_checkpoint(plan_of(tiny_shards, run), 3)
    other = tmp_path / "runs" / "other"
    save_checkpoint(plan_of(tiny_shards, other, seed=2), 5)
    message = refused(tiny_shards, other, resume=mine)
    assert str(other) in message and "use another --output" in message


def test_resume_into_a_new_folder_starts_a_branch(
    tiny_shards: Path, run: Path, tmp_path: Path
) -> None:
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 3)
    plan = plan_of(tiny_shards, tmp_path / "branch", resume=checkpoint)
    assert plan.resume_from == checkpoint and not (tmp_path / "branch").exists()


def test_resume_of_a_named_checkpoint_wins_over_the_newest(tiny_shards: Path, run: Path) -> None:
    plan = plan_of(tiny_shards, run)
    older, _ = save_checkpoint(plan, 3), save_checkpoint(plan, 4)
    assert plan_of(tiny_shards, run, resume=older).resume_from == older


@pytest.mark.parametrize("case", ["missing", "truncated", "the run itself"])
def test_resume_of_a_folder_that_is_no_complete_checkpoint(
    tiny_shards: Path, run: Path, case: str
) -> None:
    plan = plan_of(tiny_shards, run)
    good, bad = save_checkpoint(plan, 3), save_checkpoint(plan, 4)
    if case == "truncated":
        os.truncate(bad / "model.safetensors", 5)
    named = {"missing": run / "checkpoint-9", "truncated": bad, "the run itself": run}[case]
    message = refused(tiny_shards, run, resume=named)
    assert f"--resume {named} is no complete checkpoint" in message
    assert str(good) in message


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"\xff\xfe"])
def test_an_output_folder_with_an_identity_that_cannot_be_read(
    tiny_shards: Path, run: Path, content: bytes
) -> None:
    run.mkdir(parents=True)
    (run / "identity.json").write_bytes(content)
    message = refused(tiny_shards, run)
    assert "identity.json cannot be read" in message and "use another --output" in message


def test_an_output_folder_of_another_program(tiny_shards: Path, run: Path) -> None:
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("theirs: 1\n")
    message = refused(tiny_shards, run)
    assert "config.yaml is of another program" in message and "use another --output" in message


def test_the_same_data_by_another_path_is_no_other_run(
    shards: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.mkdir(parents=True)
    plan = plan_of(shards, run)
    for name, text in plan.texts().items():
        (run / name).write_text(text, "utf-8")
    monkeypatch.chdir(shards.parent)
    assert plan_of(Path("shards"), run).resume_from is None
