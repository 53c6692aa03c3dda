"""What a run continues from, and which folders it refuses to continue in."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plans import ROOT, altered, arguments, plan_of, refused, save_checkpoint

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.plan.describe import announce, describe
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer


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
    assert str(newer) in error and "the run continues from an older checkpoint" in error
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


CHANGES = {
    "seed": {"seed": 2},
    "global_batch": {"train__global_batch": 4},
    "model.dropout": {"model__dropout": 0.1},
    "model.activation": {"model__activation": "gelu_new"},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("how", ["newest", "named"])
def test_what_may_change_only_when_it_is_said(
    tiny_shards: Path, run: Path, name: str, how: str
) -> None:
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 3)
    options = CHANGES[name] | ({"resume": checkpoint} if how == "named" else {})
    message = refused(tiny_shards, run, **options)
    assert f"; --allow-change {name} continues anyway" in message
    another = next(other for other in CHANGES if other != name)
    assert name in refused(tiny_shards, run, allow_change=another, **options)
    plan = plan_of(tiny_shards, run, allow_change=name, **options)
    assert plan.resume_from == checkpoint


@pytest.mark.parametrize("ramp", ["none", "4:5steps"])
def test_a_run_of_an_earlier_version_goes_on_unless_it_had_what_is_gone(
    tiny_shards: Path, run: Path, ramp: str
) -> None:
    run.mkdir(parents=True)
    plan = plan_of(tiny_shards, run)
    (run / "identity.json").write_text(json.dumps(plan.identity | {"batch_ramp": ramp}), "utf-8")
    if ramp == "none":
        assert plan_of(tiny_shards, run).identity == plan.identity
        return
    message = refused(tiny_shards, run)
    assert f"batch_ramp: '{ramp}' in {run}, a setting that this version no longer has" in message
    assert "--allow-change batch_ramp is not possible" in refused(
        tiny_shards, run, allow_change="batch_ramp"
    )


@pytest.mark.parametrize("name", ["model.width", "model.layers", "lr", "Seed", ""])
def test_what_can_never_change_cannot_be_allowed(tiny_shards: Path, run: Path, name: str) -> None:
    save_checkpoint(plan_of(tiny_shards, run), 3)
    message = refused(tiny_shards, run, allow_change=name)
    assert f"--allow-change {name} is not possible" in message
    assert "use one of data, tokenizer, seed, global_batch" in message
    assert "--allow-change" not in refused(tiny_shards, run, model__width=32)


def test_every_difference_is_listed(tiny_shards: Path, run: Path) -> None:
    save_checkpoint(plan_of(tiny_shards, run), 3)
    message = refused(tiny_shards, run, seed=2, train__global_batch=4, model__width=32)
    assert "3 faults" in message
    for part in ("seed: 1 in", "2 now", "global_batch: 8 in", "4 now", "model.width: 30 in"):
        assert part in message


def test_other_settings_that_changed_are_announced(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 3)
    capsys.readouterr()
    announce(plan_of(tiny_shards, run, optimizer__lr=1e-5, train__micro_batch=4))
    out = capsys.readouterr().out
    assert f"changed     since {checkpoint}: " in out
    assert "train.micro_batch 2 -> 4" in out and "optimizer.lr 0.0006 -> 1e-05" in out
    announce(plan_of(tiny_shards, run))
    assert "changed" not in capsys.readouterr().out


def test_another_zero_setup_is_announced(
    tiny_shards: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    save_checkpoint(plan_of(tiny_shards, run), 3)
    capsys.readouterr()
    announce(plan_of(tiny_shards, run, deepspeed_config=ROOT / "ds_configs" / "zero2.json"))
    out = capsys.readouterr().out
    assert "zero_optimization.stage 1 -> 2" in out
    assert "zero_optimization.overlap_comm not given -> True" in out
    assert "bucket_size" not in out  # the same in both
    path = tmp_path / "other.json"
    before = json.loads((ROOT / "ds_configs" / "zero1.json").read_text("utf-8"))
    zero = before["zero_optimization"] | {"overlap_comm": "auto", "sub_group_size": None}
    path.write_text(json.dumps({"gradient_clipping": "auto", "zero_optimization": zero}))
    announce(plan_of(tiny_shards, run, deepspeed_config=path))
    assert "changed" not in capsys.readouterr().out


@pytest.fixture
def other_data(tiny_shards: Path, tiny_vocabulary: Path, tmp_path: Path) -> Path:
    """The same texts by a tokenizer with one more token."""
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
    return tmp_path / "other"


def test_an_output_folder_of_a_run_on_other_data(
    tiny_shards: Path, other_data: Path, run: Path
) -> None:
    save_checkpoint(plan_of(tiny_shards, run), 3)
    message = refused(other_data, run)
    assert "2 faults" in message and "tokenizer: " in message and "data: " in message
    assert re.search(
        r"tokenizer: \S+ has another one \([0-9a-f]{12}\) than \S+/tokenizer \(", message
    )


def test_other_data_and_another_tokenizer_can_both_be_allowed(
    tiny_shards: Path, other_data: Path, run: Path
) -> None:
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 3)
    message = refused(other_data, run, allow_change="data")
    assert "tokenizer: " in message and "data: " not in message
    argv = [*arguments(other_data, run), "--allow-change=data", "--allow-change=tokenizer"]
    found = make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), World())
    assert found.resume_from == checkpoint


def test_a_tokenizer_that_does_not_fit_the_embedding_cannot_be_allowed(
    tiny_shards: Path, run: Path
) -> None:
    larger = plan_of(tiny_shards, run)
    larger.data.tokenizer = load_tokenizer("builtin")
    save_checkpoint(larger, 3)
    argv = [*arguments(tiny_shards, run), "--allow-change=tokenizer"]
    with pytest.raises(UserError, match=r"an embedding for 32,000 tokens, the tokenizer of the"):
        make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), World())


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
    assert f"--resume {named} is not a complete checkpoint" in message
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
    assert "config.yaml belongs to another program" in message and "use another --output" in message


NAMES = ("identity.json", "config.yaml", "deepspeed_config.json", "deepspeed.json")


@pytest.mark.parametrize("kept", [NAMES[:1], NAMES[:2], NAMES[:3], NAMES[1:2], NAMES[1:]])
def test_a_first_start_that_was_killed_while_it_wrote_these_files_begins_again(
    tiny_shards: Path, run: Path, kept: tuple[str, ...]
) -> None:
    """Older versions, and a disk without a place for the identity, leave a config without it."""
    texts = plan_of(tiny_shards, run).texts()
    assert tuple(texts) == NAMES
    run.mkdir(parents=True)
    for name in kept:
        (run / name).write_text(texts[name], "utf-8")
    assert plan_of(tiny_shards, run).resume_from is None


@pytest.mark.parametrize("change", ["# mine\n{}", "{}extra: [\n", "output: runs\n"])
def test_a_config_that_no_run_wrote_is_not_overwritten(
    tiny_shards: Path, run: Path, change: str
) -> None:
    text = plan_of(tiny_shards, run).texts()["config.yaml"]
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(change.format(text), "utf-8")
    assert "config.yaml belongs to another program" in refused(tiny_shards, run)


def test_a_newest_checkpoint_that_must_not_be_read_is_named_with_the_reason(
    tiny_shards: Path,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(tiny_shards, run)
    older, newer = save_checkpoint(plan, 9), save_checkpoint(plan, 10)

    def forbidding(act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(path: Path, *arguments: Any, **more: Any) -> Any:
            if newer in (path, path.parent):
                raise PermissionError(13, "Permission denied", str(path))
            return act(path, *arguments, **more)

        return acted

    for name in ("read_text", "iterdir"):  # root may read everything
        monkeypatch.setattr(Path, name, forbidding(getattr(Path, name)))
    assert plan_of(tiny_shards, run).resume_from == older
    error = capsys.readouterr().err
    assert f"{newer}/manifest.json cannot be read: Permission denied; the run continues" in error


def test_the_same_data_by_another_path_is_no_other_run(
    shards: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.mkdir(parents=True)
    plan = plan_of(shards, run)
    for name, text in plan.texts().items():
        (run / name).write_text(text, "utf-8")
    monkeypatch.chdir(shards.parent)
    assert plan_of(Path("shards"), run).resume_from is None
