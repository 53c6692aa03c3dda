"""`gpt2zh estimate`: the memory of a training, part by part, and what fits which GPU. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.checks import config_faults
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.config.schema import PretrainConfig, TrainConfig
from gpt2zh.cost import sizes
from gpt2zh.cost.memory import RESERVE, Memory, largest_micro_batch, training_moments
from gpt2zh.dist.device import Device
from gpt2zh.recipes.choices import choose, setting_of
from gpt2zh.recipes.estimate_config import EstimateConfig
from gpt2zh.text.tokenizer import load_tokenizer

GIB = 2**30
COLUMNS = {"rest": "at rest", "forward": "forward", "backward": "backward", "update": "update"}
MOST_ROWS = 4096
"""More rows of a micro-batch are not looked for."""
PARTS = {
    "parameters": "weights in the training's precision",
    "gradients": "and their sums over micro-batches",
    "optimizer": "fp32 weights and moments",
    "activations": "of a micro-batch, for the backward pass",
    "logits": "of some tokens at a time, and the head's gradient",
    "buckets": "copies of gradients that are reduced or applied",
    "context": "CUDA and its libraries, by others' reports",
}


@dataclass(frozen=True)
class Case:
    """A checked training on so many GPUs."""

    config: PretrainConfig
    raw: dict[str, Any]
    """The DeepSpeed JSON."""
    vocabulary: int
    """Rows of the embedding, padded."""
    ranks: int


def run(options: EstimateConfig) -> None:
    """Print the estimate.

    Raises:
        UserError: Something has no meaning.
    """
    for line in report(make_case(options), options.cards):
        print(line)


def make_case(options: EstimateConfig) -> Case:
    """Check the options, and choose what they leave open.

    Raises:
        UserError: All that is wrong, in one message.
    """
    path = options.deepspeed_config
    config = PretrainConfig(
        data=(),
        output=Path(),
        deepspeed_config=path,
        model=options.model,
        train=options.train,
        optimizer=options.optimizer,
    )
    faults = config_faults(config)
    if options.ranks < 1:
        faults.append(f"ranks is {options.ranks}; it must be 1 or more")
    if not options.cards or min(options.cards) <= 0:
        faults.append("cards is the memory of GPUs in GiB, such as 24 80")
    if options.vocabulary is not None and options.vocabulary < 1:
        faults.append(f"vocabulary is {options.vocabulary}; it must be 1 or more")
    raw = attempt(lambda: deepspeed.read(path), faults) if path else None
    faults += [
        f"{path}: zero_optimization.{key} is the text {value!r}; it is a number, true or false"
        for key, value in _table(raw).items()
        if isinstance(value, str) and value != deepspeed.AUTO
    ]
    raise_all(faults, "nothing can be estimated")
    tokens = options.vocabulary or load_tokenizer(options.tokenizer).vocab_size
    vocabulary = sizes.padded_vocabulary(tokens)
    card = Device("the first card", int(options.cards[0] * GIB), is_gpu=True)
    rows = 1 if options.train.micro_batch == "auto" else options.train.micro_batch
    train = _divisible(options.train, rows * options.ranks)
    config, raw = choose(
        dataclasses.replace(config, train=train),
        raw,
        vocabulary=vocabulary,
        ranks=options.ranks,
        device=card,
    )
    return Case(config, raw, vocabulary, options.ranks)


def _divisible(train: TrainConfig, portion: int) -> TrainConfig:
    """With a global batch of whole portions: it hardly matters to memory."""
    whole = -(-train.global_batch // portion) * portion
    return dataclasses.replace(train, global_batch=whole)


def _table(raw: dict[str, Any] | None) -> dict[str, Any]:
    table = (raw or {}).get("zero_optimization")
    return table if isinstance(table, dict) else {}


def report(case: Case, cards: tuple[float, ...]) -> Iterator[str]:
    """The lines for a reader."""
    config = case.config
    model, train = config.model, config.train
    resolved = deepspeed.resolve(case.raw, train, config.optimizer, case.ranks)
    setting = setting_of(config, resolved, ranks=case.ranks, on_gpu=True)
    rows = train.rows_at_once
    parameters = sizes.parameters(model, case.vocabulary)
    yield (
        f"model       GPT-2, {model.layers} layers x {model.width}, context {model.context}, "
        f"vocabulary {case.vocabulary:,}: {parameters / 1e6:,.2f} M parameters"
    )
    settings = (
        f"{_named(case.raw)}, {train.precision}, {rows} rows x {setting.accumulation} accumulated",
        f" on each of {case.ranks} ranks" if case.ranks > 1 else "",
        ", blocks recomputed" if setting.recompute else "",
        ", compiled" if setting.compiled else "",
    )
    yield f"training    {''.join(settings)}"
    yield ""
    yield from _parts(training_moments(model, case.vocabulary, setting, micro_batch=rows))
    yield ""
    yield from _fits(case, cards)


def _parts(moments: dict[str, Memory]) -> Iterator[str]:
    """A table of what is held where each part of a step needs most."""
    needed = max(moment.total for moment in moments.values())
    yield f"{needed / GIB:.2f} GiB of each GPU by estimate, where a step needs most:"
    yield " " * 15 + "".join(f"{COLUMNS[name]:>10}" for name in moments)
    for part, meaning in PARTS.items():
        sizes = [getattr(moment, part) / GIB for moment in moments.values()]
        yield f"  {part:<13}" + "".join(f"{size:10.2f}" for size in sizes) + f"   {meaning}"
    totals = [moment.total for moment in moments.values()]
    cells = "".join(f"{total / GIB:10.2f}" for total in totals)
    yield f"  {'total':<13}{cells}   GiB"
    if host := moments["rest"].host:
        yield f"and {host / GIB:.2f} GiB of the machine's memory for each, for what is offloaded"


def _fits(case: Case, cards: tuple[float, ...]) -> Iterator[str]:
    """A table of the largest micro-batches: what is asked for, then what else there is."""
    candidates = profiles.candidates(case.ranks, case.config.optimizer.kind)
    options = [case.raw, *(option for option in candidates if option != case.raw)]
    yield f"Most rows of a micro-batch, with {RESERVE:.0%} of the card left free; - is none:"
    table = []
    for option in options:
        for recompute in (False, True):
            name = _named(option) + (", blocks recomputed" if recompute else "")
            found = [_most_rows(case, option, card, recompute=recompute) for card in cards]
            table.append((name, [_rows(most) for most in found]))
    wide = max(len(name) for name, _ in table)
    yield " " * (wide + 2) + "".join(f"{f'{card:g} GiB':>10}" for card in cards)
    for name, cells in table:
        yield f"  {name:<{wide}}" + "".join(f"{cell:>10}" for cell in cells)


def _most_rows(case: Case, raw: dict[str, Any], card: float, *, recompute: bool) -> int:
    train = dataclasses.replace(
        _divisible(case.config.train, case.ranks),
        micro_batch=1,
        activation_checkpointing=recompute,
    )
    config = dataclasses.replace(case.config, train=train)
    resolved = deepspeed.resolve(raw, train, config.optimizer, case.ranks)
    return largest_micro_batch(
        config.model,
        case.vocabulary,
        setting_of(config, resolved, ranks=case.ranks, on_gpu=True),
        device_bytes=int(card * GIB),
        most=MOST_ROWS,
    )


def _rows(most: int) -> str:
    return "-" if most == 0 else f"{most}+" if most == MOST_ROWS else str(most)


def _named(raw: dict[str, Any]) -> str:
    """A DeepSpeed JSON in words."""
    zero = _table(raw)
    away = [
        name
        for name, key in (("optimizer", "offload_optimizer"), ("weights", "offload_param"))
        if (zero.get(key) or {}).get("device", "none") != "none"
    ]
    stage = f"ZeRO {deepspeed.zero_stage(raw)}"
    return f"{stage}, {' and '.join(away)} on the host" if away else stage
