"""Options of other tools are answered with ours that do the same."""

from __future__ import annotations

import pytest

from data_tools.__main__ import VERBS as DATA_VERBS
from gpt2zh.__main__ import VERBS
from gpt2zh.acts.pretrain import PretrainConfig
from gpt2zh.config.cli import leaves, parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.foreign import FOREIGN, translate
from gpt2zh.config.schema import LaunchOptions
from gpt2zh.config.suggestions import suggest


def options_of(*schemas: type) -> set[str]:
    return {name for schema in schemas for name, _ in leaves(schema)}


TRAINING = options_of(PretrainConfig, LaunchOptions)
COMMANDS = [
    TRAINING,
    *(
        options_of(*(verb.config if isinstance(verb.config, tuple) else (verb.config,)))
        for verb in (*VERBS, *DATA_VERBS)
    ),
]


@pytest.mark.parametrize("name", FOREIGN)
def test_each_answer_is_an_option_that_some_command_has(name: str) -> None:
    targets, _ = FOREIGN[name]
    for target in targets:
        commands = [options for options in COMMANDS if target in options]
        assert commands, (name, target)
        # It is an answer only where the name itself is unknown.
        assert any(name not in options for options in commands), name


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("learning_rate", "optimizer.lr"),
        ("per_device_train_batch_size", "train.micro_batch"),
        ("num_train_epochs", "train.epochs"),
        ("gradient_accumulation_steps", "train.global_batch, which is divided over the ranks"),
        ("max_steps", "train.steps"),
        ("block_size", "model.context"),
        ("n_layer", "model.layers"),
        ("bf16", "train.precision, write bf16 or fp16"),
        ("training.learning_rate", "optimizer.lr"),
        ("deepspeed", "deepspeed_config"),
        ("output_dir", "output"),
    ],
)
def test_names_of_other_trainers_are_translated(name: str, answer: str) -> None:
    assert suggest(name, TRAINING, "--").startswith(f"; here it is --{answer}")


@pytest.mark.parametrize(
    ("verb", "name", "answer"),
    [
        ("prepare", "input_file", "input"),
        ("prepare", "out", "output"),
        ("prepare", "num_workers", "workers"),
        ("prepare", "tokenizer_path", "tokenizer"),
        ("prepare", "max_length", "row_length"),
        ("prepare", "text_column", "content_column"),
        ("generate", "max_length", "max_new_tokens"),
        ("generate", "num_return_sequences", "samples"),
        ("generate", "model_name_or_path", "model"),
    ],
)
def test_the_answer_is_an_option_of_the_command(verb: str, name: str, answer: str) -> None:
    (found,) = (one for one in (*VERBS, *DATA_VERBS) if one.name == verb)
    schemas = found.config if isinstance(found.config, tuple) else (found.config,)
    with pytest.raises(UserError, match=rf"unknown option --{name}; here it is --{answer}\b"):
        parse(*schemas, argv=[f"--{name.replace('_', '-')}=1"], prog=verb)


def test_a_command_without_such_an_option_gives_no_such_answer() -> None:
    assert translate("learning_rate", {"seed"}) is None
    assert translate("nonsense", TRAINING) is None
    assert "here it is" not in suggest("learning_rate", ["seed"])


def test_a_config_file_of_another_tool_is_answered_key_by_key(tmp_path) -> None:
    path = tmp_path / "their.yaml"
    path.write_text("learning_rate: 1e-4\nnum_train_epochs: 3\n")
    with pytest.raises(UserError) as caught:
        parse(PretrainConfig, LaunchOptions, argv=["--config", str(path)], prog="pretrain")
    message = str(caught.value)
    assert "'learning_rate'; here it is optimizer.lr" in message
    assert "'num_train_epochs'; here it is train.epochs" in message
