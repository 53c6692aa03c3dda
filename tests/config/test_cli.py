"""Defaults < file < flags, and what a mistyped name or value is told."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from data_tools.config import PrepareConfig
from gpt2zh.acts.options import PlannedRun
from gpt2zh.config.cli import dump, leaves, parse
from gpt2zh.config.duration import Duration
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.config.stages import Stages

ROOT = Path(__file__).parents[2]
NEEDED = ("--data=shards", "--output=run")


def read(*argv: str) -> PretrainConfig:
    """The config of a command line with the required options."""
    return parse(PretrainConfig, LaunchOptions, argv=[*NEEDED, *argv], prog="pretrain")[0]


def refused(*argv: str) -> str:
    """The message for a command line that must be refused."""
    with pytest.raises(UserError) as caught:
        read(*argv)
    return str(caught.value)


def yaml_file(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text, "utf-8")
    return f"--config={path}"


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "model: {layers: 3, heads: 4}\ntrain: {steps: 9}\n")
    for argv in ((file, "--model.layers=5"), ("--model.layers=5", file)):
        config = read(*argv)
        assert (config.model.layers, config.model.heads, config.model.width) == (5, 4, 768), argv
        assert config.train.steps == 9


def test_a_file_may_hold_options_of_this_start_too(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "dry_run: true\nstop_after: 8h\n")
    _, options = parse(PretrainConfig, LaunchOptions, argv=[*NEEDED, file], prog="pretrain")
    assert options.dry_run and options.stop_after == Duration(seconds=8 * 3600)


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["--train.global-batch", "32"], "train.global_batch", 32),
        (["--train.global_batch=32"], "train.global_batch", 32),
        (["--deepspeed-config=a.json"], "deepspeed_config", Path("a.json")),
        (["--train.activation_checkpointing"], "train.activation_checkpointing", True),
        (["--train.activation-checkpointing", "--seed=2"], "train.activation_checkpointing", True),
        (["--verify-data", "false"], "verify_data", False),
        (["--train.steps", "null"], "train.steps", None),
        (["--optimizer.lr", "5e-4"], "optimizer.lr", 5e-4),
        (["--checkpoint.every", "10min"], "checkpoint.every", Duration(seconds=600)),
        (
            ["--train.sequence_length_warmup=64:9steps,128:1step"],
            "train.sequence_length_warmup",
            Stages((64, 9), (128, 1)),
        ),
        (["--data", "a:0.5", "b", "--data=c"], "data", ("shards", "a:0.5", "b", "c")),
        (["--validation.prompts", "一", "二"], "validation.prompts", ("一", "二")),
        (
            ["--validation.prompts", "一", "--validation.prompts=二"],
            "validation.prompts",
            ("一", "二"),
        ),
        (["--validation.prompts"], "validation.prompts", ()),
        (
            ["--validation.prompts", "null", "1.5", "[a", "a: b", "", "x\ny", "'q'", "-1"],
            "validation.prompts",
            ("null", "1.5", "[a", "a: b", "", "x\ny", "'q'", "-1"),
        ),
        (["--local_rank=3"], "seed", 1),  # the deepspeed launcher adds it
    ],
)
def test_a_value_arrives_as_it_was_typed(argv: list[str], field: str, value: object) -> None:
    found: object = read(*argv)
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--modle.layers=2"], ["--modle.layers", "--model.layers?"]),
        (["--train.globl-batch=3"], ["--train.globl_batch", "--train.global_batch?"]),
        (["--layers=2"], ["--layers", "--model.layers?"]),
        (["--train.lr=1"], ["--train.lr", "--optimizer.lr?"]),  # in another section
        (["--xyzzy=1"], ["--xyzzy", "known: output, "]),
        (["a.csv"], ["'a.csv'", "quote globs"]),
        (
            ["--modle.layers=2", "--sead", "4", "stray"],
            ["3 faults", "--model.layers?", "--seed?", "'stray'"],
        ),
        (["--train.steps=many"], ["train.steps", "many", "int", "--help"]),
        (["--train.steps=1.5"], ["train.steps", "1.5", "int"]),
        (["--optimizer.lr=high"], ["optimizer.lr", "high", "float"]),
        (["--dry-run=maybe"], ["dry_run", "maybe", "bool"]),
        (["--train.precision=fp8"], ["train.precision", "fp8", "known are fp32, bf16, fp16"]),
        (
            ["--train.sequence_length_warmup=128:9"],
            ["train.sequence_length_warmup", "write 128:1000steps,256:500steps"],
        ),
        (["--checkpoint.every=soon"], ["checkpoint.every", "'soon'", "1000steps,10min or never"]),
        (["--resume"], ["--resume", "expected one argument"]),
    ],
)
def test_a_wrong_flag_is_named_with_its_cure(argv: list[str], told: list[str]) -> None:
    message = refused(*argv)
    assert not [part for part in told if part not in message], message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sede: 3", ["'sede'", "seed?"]),
        ("model: {layer: 3}", ["'model.layer'", "model.layers?"]),
        ("layers: 3", ["'layers'", "model.layers?"]),
        (
            "modle: {layers: 2}\ntrain: {globalbatch: 3}",
            ["2 faults", "'modle.layers'", "model.layers?", "train.global_batch?"],
        ),
        ("train: {steps: many}", ["train.steps", "many", "int"]),
        ("validation: {prompts: [1]}", ["validation.prompts", "str", "1"]),
        ("checkpoint: {every: 1.5}", ["checkpoint.every", "steps must be an integer", "2steps"]),
        ("checkpoint: {every: null}", ["checkpoint.every is null", "default 1000steps"]),
        ("model: 5", ["model", "section"]),
        ("data: shards/", ["data is a list; write data: [shards/]"]),
        ("", ["must hold a YAML mapping of options"]),
        ("[1, 2]", ["must hold a YAML mapping of options"]),
        ("a: [", ["not valid YAML", "line 1"]),
    ],
)
def test_a_wrong_config_file_is_named_with_its_cure(
    tmp_path: Path, text: str, told: list[str]
) -> None:
    message = refused(yaml_file(tmp_path, text))
    assert not [part for part in told if part not in message], message


def test_a_file_of_an_earlier_version_is_read_unless_it_says_what_is_gone(tmp_path: Path) -> None:
    lines = "seed: 4\ntrain: {batch_ramp: %s, steps: 7}\nvalidation: {prompts: [一, 'x: y']}\n"
    config = read(yaml_file(tmp_path, lines % "none"), "--train.steps=8")
    assert (config.seed, config.train.steps) == (4, 8)
    assert config.validation.prompts == ("一", "x: y")
    message = refused(yaml_file(tmp_path, lines % "'4:5steps'"))
    assert "train.batch_ramp is '4:5steps', a setting that this version no longer has" in message
    message = refused("--train.batch_ramp=none")
    assert "unknown option --train.batch_ramp; this version no longer has it" in message
    assert "--ranks; it is an option of `gpt2zh plan` now" in refused("--ranks=64")


def test_a_config_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refused(f"--config={tmp_path / 'missing.yaml'}")
    assert "directory" in refused(f"--config={tmp_path}")
    (tmp_path / "latin.yaml").write_bytes(b"data: \xff\n")
    assert "not UTF-8" in refused(f"--config={tmp_path / 'latin.yaml'}")


def test_an_option_that_a_file_gives_twice_is_refused(tmp_path: Path) -> None:
    message = refused(yaml_file(tmp_path, "train: {global_batch: 8}\ntrain:\n  steps: 5\n"))
    assert "config.yaml: the key 'train' is written twice, in lines 1 and 2" in message
    message = refused(yaml_file(tmp_path, "train.steps: 8\ntrain:\n  steps: 5\n"))
    assert "config.yaml: train.steps is given twice, once by its dotted name" in message


def test_home_is_expanded_in_every_option_that_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    yaml_file(tmp_path, "deepspeed_config: ~/ds.json\nskip_rows: [~/bad.json]\n")
    config, options = parse(
        PretrainConfig,
        LaunchOptions,
        argv=["--config=~/config.yaml", "--data=~/s:0.5", "--output=~/run", "--resume=~/c"],
        prog="pretrain",
    )
    assert config.data == (f"{tmp_path}/s:0.5",) and config.output == tmp_path / "run"
    assert config.deepspeed_config == tmp_path / "ds.json"
    assert config.skip_rows == (f"{tmp_path}/bad.json",) and options.resume == tmp_path / "c"
    argv = ["--input", "~/*.csv", "--output", "o", "--tokenizer", "~/t"]
    (prepare,) = parse(PrepareConfig, argv=argv, prog="prepare")
    assert prepare.input == (f"{tmp_path}/*.csv",) and prepare.tokenizer == f"{tmp_path}/t"


def test_missing_required_options_are_all_named() -> None:
    with pytest.raises(UserError, match=r"required: output, data"):
        parse(PretrainConfig, argv=["--seed=3"], prog="pretrain")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--train.steps=7", "--checkpoint.every=30s", "--validation.every=never"],
        ["--validation.prompts", "null", "x: y", "第一行\n第二行", "—“”"],
        ["--optimizer.eps=1e-12", "--model.dropout=0.1", "--train.activation-checkpointing"],
        ["--checkpoint.every=400h"],
        ["--data", "news/:0.5", "poetry:1e-3", "--train.sequence_length_warmup=8:2steps,16:1steps"],
    ],
)
def test_a_dumped_config_reads_back_equal(tmp_path: Path, argv: list[str]) -> None:
    config = read(*argv)
    file = yaml_file(tmp_path, dump(config))
    assert parse(PretrainConfig, argv=[file], prog="pretrain") == (config,)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_read(path: Path) -> None:
    config = read(f"--config={path}")
    assert config.model.width % config.model.heads == 0
    rows = config.train.micro_batch
    assert rows == "auto" or config.train.global_batch % rows == 0


def default_text(field: dataclasses.Field) -> str | None:
    """A field's default as the help writes it; None for a required one."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return None
    return "null" if value is None else str(value)


def fields_of(schema: type, prefix: str = "") -> list[tuple[str, dataclasses.Field]]:
    hints = typing.get_type_hints(schema)
    found = []
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            found += fields_of(hints[field.name], f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, field))
    return found


def test_help_explains_every_field_with_its_default(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leaving:
        parse(PretrainConfig, LaunchOptions, argv=["--seed=3", "--help"], prog="pretrain")
    assert leaving.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    fields = fields_of(PretrainConfig) + fields_of(LaunchOptions)
    assert [name for name, _ in fields] == [
        name for schema in (PretrainConfig, LaunchOptions) for name, _ in leaves(schema)
    ]
    sections = {}
    for name, _ in fields:
        start = text.index(f" --{name} ")
        sections[start] = name
    order = [*sorted(sections), len(text)]
    explained = {sections[begin]: text[begin:end] for begin, end in itertools.pairwise(order)}
    for name, field in fields:
        default = default_text(field)
        help_text = explained[name]
        if default is None:
            assert "required" in help_text, help_text
        elif not default.startswith("("):
            assert f"default: {default})" in help_text, help_text
        told = help_text.partition(" ")[2]
        assert len(told.split()) > 5, help_text  # a sentence, not only a type


@pytest.mark.parametrize(
    ("schema", "first", "fields"),
    [
        (PretrainConfig, ["data", "output"], "output"),
        (PlannedRun, ["data", "output"], "output"),
        (PrepareConfig, ["input"], "input"),
    ],
)
def test_help_begins_with_the_data_and_files_keep_the_order_of_the_fields(
    schema: type, first: list[str], fields: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        parse(schema, argv=["--help"], prog="tool")
    shown = re.findall(r"^  --([a-z_]+) ", capsys.readouterr().out, re.MULTILINE)
    assert shown[: 1 + len(first)] == ["config", *first]
    assert next(leaves(schema))[0] == fields


def test_help_shows_lists_as_they_are_written(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse(PretrainConfig, LaunchOptions, argv=["--help"], prog="pretrain")
    text = capsys.readouterr().out
    assert "ITEM" not in text
    for name in ("data", "skip_rows", "validation.prompts", "allow_change"):
        assert f"--{name} VALUE ..." in text


WITHOUT_TORCH = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    if sys.argv[0].endswith(".py"):
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as leaving:
    assert not leaving.code, leaving.code
heavy = {"torch", "transformers", "deepspeed", "datasets"} & set(sys.modules)
assert not heavy, f"imported {heavy}"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["launcher/pretrain.py", "--help"], "--train.global_batch"),
        (["gpt2zh", "--help"], "generate"),
        (["gpt2zh", "generate", "--help"], "--temperature"),
        (["data_tools", "prepare", "--help"], "--row_length"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_answers_at_once_without_torch(command: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["gpt2zh", "genrate"], "unknown verb 'genrate'; did you mean generate?"),
        (["gpt2zh", "generate", "run/x", "--temprature=1"], "did you mean --temperature?"),
        (["launcher/pretrain.py", "--sead=1"], "did you mean --seed?"),
    ],
)
def test_bad_input_ends_with_code_2_and_no_traceback(command: list[str], told: str) -> None:
    start = [command[0]] if command[0].endswith(".py") else ["-m", command[0]]
    done = subprocess.run(
        [sys.executable, *start, *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_path_is_refused_and_not_taken_for_the_current_folder(tmp_path: Path) -> None:
    said = refused("--output=", "--resume", "")
    assert "--output is empty, as from a shell variable that is not set" in said
    assert "--resume is empty" in said
    assert "output is empty" in refused(yaml_file(tmp_path, "output: ''\n"))
    assert read("--output=.").output == Path()
