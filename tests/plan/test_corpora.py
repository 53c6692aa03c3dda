"""Several corpora: how they are named on the command line, compared, mixed and told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.data.order import rows_at
from gpt2zh.data.shard import ShardSet
from gpt2zh.plan.corpora import WeightedFolder, names_of, read_folder
from gpt2zh.plan.describe import announce, describe
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.world import World

ROOT = Path(__file__).parents[2]


def plan_of(output: Path, *data: object, **more: object) -> RunPlan:
    options = {
        "output": output,
        "deepspeed_config": ROOT / "ds_configs" / "zero1.json",
        "model.layers": 1,
        "model.heads": 1,
        "model.width": 8,
        "model.context": 32,
        "train.global_batch": 4,
        "train.micro_batch": 2,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    argv = ["--data", *map(str, data), *(f"--{name}={value}" for name, value in options.items())]
    return make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), World())


def refused(output: Path, *data: object, **more: object) -> str:
    with pytest.raises(UserError) as caught:
        plan_of(output, *data, **more)
    return str(caught.value)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("text", "folder", "weight"),
    [
        ("news", "news", None),
        ("news/:0.5", "news", 0.5),
        ("a:b:3", "a:b", 3.0),
        ("news:1e-3", "news", 1e-3),
        (":0.5", ":0.5", None),
    ],
)
def test_a_folder_may_be_followed_by_its_weight(
    text: str, folder: str, weight: float | None
) -> None:
    assert read_folder(text) == WeightedFolder(Path(folder), weight)


def test_a_folder_whose_name_looks_like_a_weight_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "news:0.5").mkdir()
    assert read_folder(f"{tmp_path}/news:0.5") == WeightedFolder(tmp_path / "news:0.5", None)
    assert read_folder(f"{tmp_path}/news:0.5:2") == WeightedFolder(tmp_path / "news:0.5", 2.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "news:half",
            "no such folder, and 'half' is not a valid weight; write FOLDER or FOLDER:0.5",
        ),
        ("news:", "'' is not a valid weight"),
        ("news:0", "a weight must be above 0; leave out"),
        ("news:-1", "above 0"),
        ("news:inf", "above 0"),
        ("news:nan", "above 0"),
    ],
)
def test_a_weight_that_is_none_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read_folder(text)
    assert f"--data {text}: " in str(caught.value) and told in str(caught.value)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["data/news", "data/poetry"], ["news", "poetry"]),
        (["news/shards", "poetry/shards/"], ["news/shards", "poetry/shards"]),
        (["a/x/s", "b/x/s", "b/y/s"], ["a/x/s", "b/x/s", "b/y/s"]),
        (["news", "news"], ["news-1", "news-2"]),
        (["news"], ["news"]),
    ],
)
def test_corpora_are_told_apart_by_the_ends_of_their_paths(
    folders: list[str], names: list[str]
) -> None:
    assert names_of([Path(folder) for folder in folders]) == names


def test_weights_are_shares_of_the_tokens(tiny_shards: Path, other_shards: Path, run: Path) -> None:
    plan = plan_of(run, f"{tiny_shards}:3", f"{other_shards}:1", train__steps=500)
    numbers = plan.data.order(0, 4000)
    here = ShardSet.open(tiny_shards, row_length=32)
    there = ShardSet.open(other_shards, row_length=32)
    rows = plan.data.make_batch(numbers, 1).input_ids
    mine = numbers < here.rows
    pad = here.manifest.tokenizer.pad_id
    tokens = (rows[mine] != pad).sum(), (rows[~mine] != pad).sum()
    assert tokens[0] / tokens[1] == pytest.approx(3, rel=0.004)
    assert np.array_equal(rows[mine], here.gather(numbers[mine]))
    assert np.array_equal(rows[~mine], there.gather(numbers[~mine] - here.rows))
    text = describe(plan)
    names = [corpus.name for corpus in plan.data.corpora]
    first, second = plan.epochs_at_end.values()
    assert f"{names[0]}: 75.0% of the tokens, from {here.rows} rows, read {first:.2f}" in text
    assert f"{names[1]}: 25.0% of the tokens, from {there.rows} rows, read {second:.2f}" in text
    assert first == pytest.approx(mine.sum() / 2 / here.rows, rel=0.01)


def test_without_weights_each_corpus_is_read_as_often(
    tiny_shards: Path, other_shards: Path, run: Path
) -> None:
    plan = plan_of(run, tiny_shards, other_shards, train__epochs=3)
    rows = [ShardSet.open(f, row_length=32).rows for f in (tiny_shards, other_shards)]
    assert plan.data.rows == sum(rows) and plan.steps == -(-3 * sum(rows) // 4)
    assert all(2.9 < epochs < 3.3 for epochs in plan.epochs_at_end.values())


def test_one_corpus_with_a_weight_is_one_without(tiny_shards: Path, run: Path) -> None:
    plain, weighted = plan_of(run, tiny_shards), plan_of(run, f"{tiny_shards}:0.2")
    assert plain.identity == weighted.identity
    assert plain.identity["data"] == ShardSet.open(tiny_shards).manifest.fingerprint
    walk = rows_at(0, 200, rows=plain.data.rows, seed=1)
    assert (
        plain.data.order(0, 200).tolist() == weighted.data.order(0, 200).tolist() == walk.tolist()
    )


def test_text_that_is_read_too_often_is_told(
    tiny_shards: Path, other_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    data = (f"{tiny_shards}:100", f"{other_shards}:1")
    announce(plan_of(run, *data, train__steps=30))
    plan = plan_of(run, *data, train__steps=30)
    often = max(plan.epochs_at_end.values())
    error = capsys.readouterr().err
    assert often > 4 and f"will be read {often:.1f} times; after 4 times" in error
    assert "lower its weight" in error and error.count("will be read") == 1
    announce(plan_of(run, tiny_shards, train__epochs=9))  # asked for by name
    assert "will be read" not in capsys.readouterr().err


def test_a_run_knows_its_corpora_and_their_shares(
    tiny_shards: Path, other_shards: Path, run: Path
) -> None:
    plan = plan_of(run, f"{tiny_shards}:3", f"{other_shards}:1")
    assert [sorted(part) for part in plan.identity["data"]] == [["fingerprint", "share"]] * 2
    run.mkdir()
    for name, text in plan.texts().items():
        (run / name).write_text(text, "utf-8")
    assert json.loads((run / "identity.json").read_text("utf-8")) == plan.identity
    plan_of(run, f"{tiny_shards}:0.75", f"{other_shards}:0.25")  # the same weights
    for data in (
        (f"{tiny_shards}:2", f"{other_shards}:1"),
        (f"{other_shards}:1", f"{tiny_shards}:3"),
        (tiny_shards,),
    ):
        message = refused(run, *data)
        assert "data: " in message and "use another --output" in message


def test_the_written_config_names_all_corpora(
    tiny_shards: Path, other_shards: Path, run: Path, tmp_path: Path
) -> None:
    plan = plan_of(
        run, f"{tiny_shards}:3", f"{other_shards}:1", train__sequence_length_warmup="8:2steps"
    )
    run.mkdir()
    for name, text in plan.texts().items():
        (run / name).write_text(text, "utf-8")
    argv = [f"--config={run / 'config.yaml'}"]
    again = make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), World())
    assert again.texts() == plan.texts() and again.length_at(2) == 8


def test_corpora_of_different_tokenizers_are_refused(
    tiny_shards: Path, tiny_vocabulary: Path, run: Path, tmp_path: Path
) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text(tiny_vocabulary.read_text("utf-8") + "##zz\n", "utf-8")
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "theirs",
            tokenizer=str(vocabulary),
            row_length=32,
        )
    )
    message = refused(run, tiny_shards, tmp_path / "theirs")
    assert f"{tiny_shards} was made with the tokenizer" in message
    assert f"{tmp_path / 'theirs'} with" in message and "but a model has only one" in message
    assert f"prepare one of them again with --tokenizer {tiny_shards / 'tokenizer'}" in message


def test_corpora_of_different_packing_are_refused(
    tiny_shards: Path, run: Path, tmp_path: Path
) -> None:
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "chunks",
            tokenizer=str(tiny_shards / "tokenizer"),
            row_length=16,
            packing="zero_nlp",
        )
    )
    message = refused(run, tiny_shards, tmp_path / "chunks", model__context=16)
    assert f"{tiny_shards} is packed by full and {tmp_path / 'chunks'} by zero_nlp" in message
    assert "prepare one of them again with --packing full" in message


def test_the_faults_of_all_corpora_are_told_at_once(
    tiny_shards: Path, other_shards: Path, run: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(other_shards, tmp_path / "damaged"))
    next(damaged.glob("train*.arrow")).unlink()
    message = refused(run, f"{tiny_shards}:1", damaged, tmp_path / "nowhere", f"{tiny_shards}:no")
    for part in (
        "4 faults",
        "some folders have a weight and some have none",
        "is missing",
        "nowhere is not a folder",
        "'no' is not a valid weight",
    ):
        assert part in message


def test_no_corpus_at_all_is_refused(run: Path) -> None:
    assert "--data is empty; give at least one folder" in refused(run)


def test_all_corpora_together_must_fill_a_batch(
    tiny_shards: Path, other_shards: Path, run: Path
) -> None:
    rows = plan_of(run, tiny_shards, other_shards).data.rows
    together = {"train__global_batch": rows, "train__micro_batch": 1}
    plan_of(run, tiny_shards, other_shards, **together)
    more = together | {"train__global_batch": rows + 1}
    assert f"{rows} training rows, less than one" in refused(run, tiny_shards, other_shards, **more)
