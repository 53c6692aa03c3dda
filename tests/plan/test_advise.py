"""The run that is named after a preparation can be started, on this machine, with these rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2zh.acts.pretrain import PretrainConfig
from gpt2zh.config.cli import parse
from gpt2zh.config.schema import LaunchOptions
from gpt2zh.cost.cards import card_named
from gpt2zh.plan.advise import LONG, SMALL, TINY, Advice, Shipped, advise, tokens_per_second
from gpt2zh.plan.machine import Machine

ROOT = Path(__file__).parents[2]
LAPTOP = Machine(0, None, 2)
ONE_3090 = Machine(1, card_named("RTX 3090"), 8)
EIGHT = Machine(8, card_named("H100"), 64)
OLD = Machine(1, card_named("V100"), 8)
UNKNOWN = Machine(1, None, 8)


def config_of(advice: Advice) -> PretrainConfig:
    """Return the config of the command."""
    path = ROOT / "configs" / f"{advice.config.name}.yaml"
    argv = ["--config", str(path), "--data", "d", "--output", "o", *advice.options]
    config, _ = parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain")
    return config


@pytest.mark.parametrize("shipped", [SMALL, TINY])
def test_what_is_known_of_a_config_is_what_its_file_says(shipped: Shipped) -> None:
    config = config_of(Advice(shipped, (), 1, None, None, LAPTOP))
    model, train = config.model, config.train
    assert (model.layers, model.heads, model.width) == (
        shipped.layers,
        shipped.heads,
        shipped.width,
    )
    assert (train.global_batch, train.precision) == (shipped.global_batch, shipped.precision)
    assert train.steps is None and train.epochs == 1 and model.context == 512


@pytest.mark.parametrize("machine", [LAPTOP, ONE_3090, EIGHT, OLD, UNKNOWN])
@pytest.mark.parametrize("rows", [1, 7, 321, 959, 961, 20_000, 96_000, 10_000_000])
def test_the_config_runs_with_these_rows(machine: Machine, rows: int) -> None:
    advice = advise(rows, machine, row_length=512, tokens=32_000)
    train = config_of(advice).train
    assert train.global_batch <= rows and advice.steps >= 1
    assert train.global_batch % train.micro_batch == 0 if train.micro_batch != "auto" else True
    if not machine.gpus:
        assert advice.config is TINY and train.precision == "fp32"
        assert advice.seconds is not None and advice.seconds <= LONG
    if machine.card is not None and not machine.card.has_bf16:
        assert train.precision != "bf16"


def test_many_rows_and_a_gpu_train_gpt2_small() -> None:
    advice = advise(960_000, ONE_3090, row_length=512, tokens=32_000)
    assert advice.config is SMALL and advice.options == () and advice.steps == 1000
    assert advice.seconds == advice.pass_seconds and 3600 < advice.seconds < 48 * 3600
    assert "1,000 steps in about" in advice.text and "on 1 x RTX 3090, by estimate" in advice.text
    several = advise(960_000, EIGHT, row_length=512, tokens=32_000)
    assert several.seconds is not None and several.seconds < advice.seconds / 20


def test_a_cpu_that_would_take_days_gets_a_number_of_steps_and_is_told_so() -> None:
    advice = advise(960_000, LAPTOP, row_length=512, tokens=32_000)
    assert advice.options[0] == "--train.steps" and int(advice.options[1]) == advice.steps
    assert advice.pass_seconds is not None and advice.pass_seconds > 24 * 3600
    assert "on 2 CPU cores, by estimate; one pass over the rows would take about" in advice.text
    assert "d " in advice.text.rpartition("about")[2]
    short = advise(321, LAPTOP, row_length=512, tokens=32_000)
    assert short.options == () and short.steps == 41 and "one pass" not in short.text


def test_a_gpu_that_is_not_known_has_steps_but_no_time() -> None:
    advice = advise(960_000, UNKNOWN, row_length=512, tokens=32_000)
    assert advice.config is SMALL and advice.seconds is None
    assert advice.text == "1,000 steps: one pass over the rows"


def test_rows_of_another_length_need_their_context() -> None:
    advice = advise(500, LAPTOP, row_length=128, tokens=32_000)
    assert advice.options == ("--model.context", "128")
    assert config_of(advice).model.context == 128


def test_a_larger_vocabulary_is_slower() -> None:
    few, many = (
        tokens_per_second(TINY, LAPTOP, context=512, tokens=n) or 0 for n in (8_000, 64_000)
    )
    assert 2 < few / many < 8
