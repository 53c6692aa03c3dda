"""The tables, made from the JSON alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.computing import speed
from gpt2zh.model.shape import flops_per_token
from speed.arms import BEST, ladder, meaning

GOALS = (("gpt2zh-1", "hf-seed", 2.5), ("gpt2zh-1", "hf-best", 1.2), ("gpt2zh-1", "bare", 0.97))
_GOAL_CARD = "RTX 3090"
_SMALLEST_PREDICTED = 512  # of narrower models the small products decide


def markdown(report: dict[str, Any]) -> str:
    """The whole report."""
    parts = [_heading(report), _arms(report), _ladder(report), _goals(report), _voids(report)]
    return "\n\n".join(part for part in [*parts, predicted(report)] if part) + "\n"


def _heading(report: dict[str, Any]) -> str:
    job, facts, product = report["job"], report["facts"], report["matrix_product"]
    peak = report["peak_flops"]
    versions = ", ".join(f"{name} {text}" for name, text in facts["versions"].items())
    lines = [
        f"{report['device']}, {facts['cores']} cores; Python {facts['python']}, {versions}; "
        f"commit {facts['commit'] or 'unknown'}.",
        f"GPT-2 of {facts['parameters'] / 1e6:.1f} M parameters ({job['layers']} x {job['width']}, "
        f"vocabulary {facts['vocabulary']}), rows of {job['context']} tokens, "
        f"{job['global_batch']} rows a step ({facts['tokens_per_step']:,.0f} real tokens) of "
        f"{facts['data']}.",
        f"MFU: {report['formula']} = {facts['flops_per_token'] / 1e9:.4f} GF, of "
        + (f"a peak of {peak / 1e12:.1f} TFLOP/s." if peak else "a peak that is not known here.")
        + f" Matrix product measured in this run ({product['side']}^3 {product['dtype']}): "
        f"{product['flops'] / 1e12:.2f} TFLOP/s.",
        f"Every process: {job['warmup']} steps of warm-up, then a window of {job['steps']}; "
        "times are those of all windows.",
    ]
    if not report["on_gpu"]:
        lines.append("**On a CPU these speeds say nothing about a GPU**; the losses do.")
    return "\n".join(lines)


def _arms(report: dict[str, Any]) -> str:
    names = [name for name in report["arms"] if name not in _only_rungs(report)]
    last = report["job"]["total_steps"]
    columns = [
        *("arm", "micro-batch", "tokens/s", "ms/step", "p10", "p90", "MFU", "of product"),
        *("peak GiB", "wait", "ready s", f"loss at {last}", "held-out"),
        *(f"x {base}" for base in _bases(report)),
    ]
    return _table(columns, (_arm_cells(report, name) for name in names))


def _arm_cells(report: dict[str, Any], name: str) -> list[str]:
    row = report["arms"][name]
    if "median_ms" not in row:
        return [name, "", "**void**"]
    losses = [f"{row['last_loss']:.4f}", f"{row['held_out']:.4f}"]
    ready = f"{row['ready_seconds'][0]:.1f}"
    if row["void"]:
        return [name, str(row["micro_batch"]), "**void**", *[""] * 7, ready, *losses]
    rate = row["tokens_per_second"]
    ratios = [_ratio(report, rate, base) for base in _bases(report)]
    return [
        name,
        str(row["micro_batch"]),
        f"{rate:,.0f}",
        f"{row['median_ms']:.1f}",
        f"{row['p10_ms']:.1f}",
        f"{row['p90_ms']:.1f}",
        f"{row['mfu']:.1%}" if row["mfu"] else "",
        f"{row['of_matrix_product']:.1%}",
        f"{row['peak_gib']:.2f}",
        f"{row['wait_share']:.1%}",
        ready,
        *losses,
        *ratios,
    ]


def _ladder(report: dict[str, Any]) -> str:
    rungs = [name for name in ladder() if name in report["arms"]]
    if not set(rungs) & set(_only_rungs(report)):
        return ""
    lines, before = [], None
    for name in rungs:
        row = report["arms"][name]
        counts = not row["void"]
        rate = row["tokens_per_second"] if counts else None
        change = f"{rate / before - 1:+.1%}" if rate and before else ""
        memory = f"{row['peak_gib']:.2f}" if counts else ""
        lines.append([name, meaning(name), f"{rate:,.0f}" if rate else "**void**", change, memory])
        before = rate
    return "Each rung has one switch more:\n\n" + _table(
        ["rung", "what is new", "tokens/s", "change", "peak GiB"], lines
    )


def _goals(report: dict[str, Any]) -> str:
    if not report["on_gpu"]:
        return ""
    lines = []
    for ours, base, least in GOALS:
        rate, other = _rate(report, ours), _rate(report, base)
        if rate and other:
            met = "met" if rate / other >= least else "**not met**"
            lines.append([f"{ours} / {base}", f">= {least}", f"{rate / other:.2f}", met])
    return _table(["goal", "wanted", "measured", ""], lines) if lines else ""


def _voids(report: dict[str, Any]) -> str:
    lines = [f"- {name}: {row['void']}" for name, row in report["arms"].items() if row["void"]]
    return "Void:\n\n" + "\n".join(lines) if lines else ""


def predicted(report: dict[str, Any]) -> str:
    """What the card of the goal, and the one that was measured, should reach."""
    job, vocabulary = report["job"], report["facts"]["vocabulary"]
    if job["width"] < _SMALLEST_PREDICTED:
        return ""
    shape = ModelConfig(**{name: job[name] for name in ("layers", "heads", "width", "context")})
    told = []
    flops = flops_per_token(shape, vocabulary)
    for card in filter(None, dict.fromkeys(map(card_named, (_GOAL_CARD, report["device"])))):
        found = speed(card, shape, vocabulary, is_compiled=True)
        told.append(
            f"{card.name}: {found.expected:,.0f} tokens/s "
            f"(MFU {found.expected * flops / card.peak:.0%}), at best {found.best:,.0f} "
            f"(MFU {found.best * flops / card.peak:.0%})"
        )
    return f"Predicted, not measured (benchmarks/published.py): {'; '.join(told)}."


def _bases(report: dict[str, Any]) -> list[str]:
    return [name for name in ("hf-seed", "hf-best", "bare") if name in report["arms"]]


def _only_rungs(report: dict[str, Any]) -> list[str]:
    """Arms that stand in the ladder alone."""
    own = {"bare", "gpt2zh-1", f"gpt2zh-1@{BEST}"}
    return [name for name in ladder() if name not in own and name in report["arms"]]


def _rate(report: dict[str, Any], name: str) -> float | None:
    row = report["arms"].get(name)
    return row["tokens_per_second"] if row and not row["void"] else None


def _ratio(report: dict[str, Any], rate: float, base: str) -> str:
    other = _rate(report, base)
    return f"{rate / other:.2f}" if other else ""


def _table(columns: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(_lines(columns, rows))


def _lines(columns: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:  # one that ends early has nothing more to tell
        yield f"| {' | '.join([*row, *[''] * (len(columns) - len(row))])} |"
