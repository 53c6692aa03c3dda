"""`gpt2zh estimate`: the memory of a training, part by part, and what fits which GPU. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2zh.acts.estimate_options import EstimateConfig
from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.checks import config_faults
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.config.schema import PretrainConfig, TrainConfig, TrainingConfig
from gpt2zh.cost.memory import RESERVE, Memory, largest_micro_batch, training_phases
from gpt2zh.model import shape
from gpt2zh.plan.fit import accepted, choose, provisional, setting_of
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import warn
from gpt2zh.ranks.world import World
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

    config: TrainingConfig
    raw: dict[str, Any]
    """The DeepSpeed JSON."""
    vocabulary: int
    """Rows of the embedding, padded."""
    ranks: int
    warning: str | None
    """What does not fit the first card."""


def run(options: EstimateConfig) -> None:
    """Print the estimate.

    Raises:
        UserError: Something has no meaning.
    """
    case = make_case(options)
    for line in report(case, options.cards):
        print(line)
    if case.warning is not None:
        warn(World(), case.warning)


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
    train, ranks = provisional(options.train), max(1, options.ranks)
    if min(train.global_batch, train.rows_at_once) >= 1:  # else there is nothing to divide by
        train = _divisible(train, ranks)
        attempt(lambda: deepspeed.resolve(raw or {}, train, config.optimizer, ranks), faults)
    raise_all(faults, "nothing can be estimated")
    tokens = options.vocabulary or load_tokenizer(options.tokenizer).vocab_size
    vocabulary = shape.padded_vocabulary(tokens)
    card = Device("the first card", int(options.cards[0] * GIB), is_gpu=True)
    train = dataclasses.replace(train, micro_batch=options.train.micro_batch)
    choice = choose(
        dataclasses.replace(config, train=train),
        raw,
        vocabulary=vocabulary,
        ranks=ranks,
        device=lambda: card,
    )
    return Case(choice.config, choice.raw, vocabulary, ranks, choice.warning)


def _divisible(train: TrainConfig, ranks: int) -> TrainConfig:
    """With a global batch that can be cut: it hardly matters to memory."""
    portion = train.rows_at_once * ranks
    whole = -(-train.global_batch // portion) * portion
    return dataclasses.replace(train, global_batch=whole)


def report(case: Case, cards: tuple[float, ...]) -> Iterator[str]:
    """The lines for a reader."""
    config = case.config
    model, train = config.model, config.train
    resolved = deepspeed.resolve(case.raw, train, config.optimizer, case.ranks)
    setting = setting_of(config, resolved, ranks=case.ranks, on_gpu=True)
    rows = train.rows_at_once
    parameters = shape.parameters(model, case.vocabulary)
    yield (
        f"model       GPT-2, {model.layers} layers x {model.width}, context {model.context}, "
        f"vocabulary {case.vocabulary:,}: {parameters / 1e6:,.2f} M parameters"
    )
    settings = (
        f"{_named(resolved)}, {train.precision}, {rows} rows x {setting.accumulation} accumulated",
        f" on each of {case.ranks} ranks" if case.ranks > 1 else "",
        ", blocks recomputed" if setting.recompute else "",
        ", compiled" if setting.is_compiled else "",
    )
    yield f"training    {''.join(settings)}"
    yield ""
    yield from _parts(training_phases(model, case.vocabulary, setting, micro_batch=rows))
    yield ""
    yield from _fits(case, cards)


def _parts(phases: dict[str, Memory]) -> Iterator[str]:
    """A table of what is held where each part of a step needs most."""
    needed = max(phase.total for phase in phases.values())
    yield f"{needed / GIB:.2f} GiB of each GPU by estimate, where a step needs most:"
    yield " " * 15 + "".join(f"{COLUMNS[name]:>10}" for name in phases)
    for part, meaning in PARTS.items():
        sizes = [getattr(phase, part) / GIB for phase in phases.values()]
        yield f"  {part:<13}" + "".join(f"{size:10.2f}" for size in sizes) + f"   {meaning}"
    totals = [phase.total for phase in phases.values()]
    cells = "".join(f"{total / GIB:10.2f}" for total in totals)
    yield f"  {'total':<13}{cells}   GiB"
    if host := phases["rest"].host:
        yield f"and {host / GIB:.2f} GiB of the machine's memory for each, for what is offloaded"


def _fits(case: Case, cards: tuple[float, ...]) -> Iterator[str]:
    """A table of the largest micro-batches: what is asked for, then what else there is."""
    train = dataclasses.replace(case.config.train, micro_batch=1)
    optimizer = case.config.optimizer
    candidates = profiles.candidates(case.ranks)
    raws = [case.raw, *(raw for raw in candidates if raw != case.raw)]
    yield f"Most rows of a micro-batch, with {RESERVE:.0%} of the card left free; - is none:"
    table = []
    for _, resolved in accepted(raws, train, optimizer, case.ranks):
        for recompute in (False, True):
            name = _named(resolved) + (", blocks recomputed" if recompute else "")
            found = [_most_rows(case, resolved, card, recompute=recompute) for card in cards]
            table.append((name, [_rows(most) for most in found]))
    wide = max(len(name) for name, _ in table)
    yield " " * (wide + 2) + "".join(f"{f'{card:g} GiB':>10}" for card in cards)
    for name, cells in table:
        yield f"  {name:<{wide}}" + "".join(f"{cell:>10}" for cell in cells)


def _most_rows(case: Case, resolved: dict[str, Any], card: float, *, recompute: bool) -> int:
    train = dataclasses.replace(case.config.train, activation_checkpointing=recompute)
    config = dataclasses.replace(case.config, train=train)
    return largest_micro_batch(
        config.model,
        case.vocabulary,
        setting_of(config, resolved, ranks=case.ranks, on_gpu=True),
        device_bytes=int(card * GIB),
        most=MOST_ROWS,
    )


def _rows(most: int) -> str:
    return "-" if most == 0 else f"{most}+" if most == MOST_ROWS else str(most)


def _named(resolved: dict[str, Any]) -> str:
    """A DeepSpeed dict in words."""
    offloads: dict[deepspeed.Offload, str] = {"optimizer": "optimizer", "param": "weights"}
    away = [name for key, name in offloads.items() if deepspeed.is_offloaded(resolved, key)]
    stage = f"ZeRO {deepspeed.zero_stage(resolved)}"
    return f"{stage}, {' and '.join(away)} on the host" if away else stage
