"""The tables, made from the JSON alone."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.cli import table
from benchmarks.harness.machine import heading
from benchmarks.throughput.recipes import BEST, ladder, meaning
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.computing import speed
from gpt2zh.model.shape import flops_per_token

GOALS = (("gpt2zh-1", "hf-seed", 2.5), ("gpt2zh-1", "hf-best", 1.2), ("gpt2zh-1", "bare", 0.97))
_GOAL_CARD = "RTX 3090"
_SMALLEST_PREDICTED = 512  # the time of narrower models depends on small products


def markdown(report: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = [heading(report["machine"])]
    if "arms" in report:
        parts[0] += "\n" + _run(report)
        parts += [_arms(report), _ladder(report), _goals(report), _voids(report), predicted(report)]
    if "overhead" in report:
        parts.append(overhead(report["overhead"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _run(report: dict[str, Any]) -> str:
    job, facts, product = report["job"], report["facts"], report["matrix_product"]
    peak = report["peak_flops"]
    lines = [
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
    if not report["machine"]["on_gpu"]:
        lines.append("**On a CPU these speeds say nothing about a GPU**; the losses do.")
    return "\n".join(lines)


def _arms(report: dict[str, Any]) -> str:
    names = [name for name in report["arms"] if name not in _only_rungs(report)]
    columns = [
        *("arm", "micro-batch", "tokens/s", "ms/step", "p10", "p90", "MFU", "of product"),
        *("peak GiB", "wait", "ready s", f"loss at {report['job']['total_steps']}", "held-out"),
        *(f"x {base}" for base in _bases(report)),
    ]
    return table(columns, (_arm_cells(report, name) for name in names))


def _arm_cells(report: dict[str, Any], name: str) -> list[str]:
    row = report["arms"][name]
    if "median_ms" not in row:
        return [name, "", "**void**"]
    losses = [f"{row['last_loss']:.4f}", f"{row['held_out']:.4f}"]
    ready = f"{row['ready_seconds'][0]:.1f}"
    if row["void"]:
        return [name, str(row["micro_batch"]), "**void**", *[""] * 7, ready, *losses]
    rate = row["tokens_per_second"]
    others = [_rate(report, base) for base in _bases(report)]
    return [
        *(name, str(row["micro_batch"]), f"{rate:,.0f}"),
        *(f"{row[key]:.1f}" for key in ("median_ms", "p10_ms", "p90_ms")),
        f"{row['mfu']:.1%}" if row["mfu"] else "",
        *(f"{row['of_matrix_product']:.1%}", f"{row['peak_gib']:.2f}", f"{row['wait_share']:.1%}"),
        *(ready, *losses),
        *(f"{rate / other:.2f}" if other else "" for other in others),
    ]


def _ladder(report: dict[str, Any]) -> str:
    rungs = [name for name in ladder() if name in report["arms"]]
    if not set(rungs) & set(_only_rungs(report)):
        return ""
    lines, before = [], None
    for name in rungs:
        rate = _rate(report, name)
        change = f"{rate / before - 1:+.1%}" if rate and before else ""
        memory = f"{report['arms'][name]['peak_gib']:.2f}" if rate else ""
        lines.append([name, meaning(name), f"{rate:,.0f}" if rate else "**void**", change, memory])
        before = rate
    columns = ["rung", "what is new", "tokens/s", "change", "peak GiB"]
    return "Each rung has one switch more:\n\n" + table(columns, lines)


def _goals(report: dict[str, Any]) -> str:
    if not report["machine"]["on_gpu"]:
        return ""
    lines = []
    for ours, base, least in GOALS:
        rate, other = _rate(report, ours), _rate(report, base)
        if rate and other:
            met = "met" if rate / other >= least else "**not met**"
            lines.append([f"{ours} / {base}", f">= {least}", f"{rate / other:.2f}", met])
    return table(["goal", "wanted", "measured", ""], lines) if lines else ""


def _voids(report: dict[str, Any]) -> str:
    lines = [f"- {name}: {row['void']}" for name, row in report["arms"].items() if row["void"]]
    return "Void:\n\n" + "\n".join(lines) if lines else ""


def predicted(report: dict[str, Any]) -> str:
    """Return what the card of the goal, and the one that was measured, should reach."""
    job, vocabulary = report["job"], report["facts"]["vocabulary"]
    if job["width"] < _SMALLEST_PREDICTED:
        return ""
    shape = ModelConfig(**{name: job[name] for name in ("layers", "heads", "width", "context")})
    lines = []
    flops = flops_per_token(shape, vocabulary)
    names = (_GOAL_CARD, report["machine"]["device"])
    for card in filter(None, dict.fromkeys(map(card_named, names))):
        found = speed(card, shape, vocabulary, is_compiled=True)
        lines.append(
            f"{card.name}: {found.expected:,.0f} tokens/s "
            f"(MFU {found.expected * flops / card.peak:.0%}), at best {found.best:,.0f} "
            f"(MFU {found.best * flops / card.peak:.0%})"
        )
    return f"Predicted, not measured: {'; '.join(lines)}."


def overhead(found: dict[str, Any]) -> str:
    """Return the table of the arm `overhead`: what a step takes more than a bare one."""
    cases = {(c["precision"], c["stage"], c["micro_batches"]): c for c in found["cases"]}
    most = max(c["micro_batches"] for c in found["cases"])
    rows = []
    for (precision, stage, micro_batches), one in cases.items():
        if micro_batches != 1:
            continue
        many = cases[precision, stage, most]
        more, ours = one["gpt2zh_more_ms"], one["gpt2zh_more_ms"] - one["deepspeed_more_ms"]
        each = (many["gpt2zh_more_ms"] - more) / (most - 1)
        figures = [more, many["gpt2zh_more_ms"], each, more - each]
        cells = [f"{one['torch_ms']:.1f}", *(f"{ms:+.2f}" for ms in figures)]
        cells += [f"{1000 * more / found['tensors']:+.1f}", f"{ours:+.2f}"]
        rows.append([precision, str(stage), *cells])
    columns = ["precision", "ZeRO", "bare step", "more with 1 micro-batch", f"with {most}"]
    columns += ["per micro-batch", "per step", "us per tensor, with 1", "ours of that"]
    return (
        f"What the engine costs besides the mathematics: {found['tensors']} parameter tensors, "
        f"medians of {found['rounds']} steps, ms. One exchange between the ranks, which a run has "
        f"once a step, takes {found['exchange_ms']:.2f} ms more (one rank).\n\n"
    ) + table(columns, rows)


def _bases(report: dict[str, Any]) -> list[str]:
    return [name for name in ("hf-seed", "hf-best", "bare") if name in report["arms"]]


def _only_rungs(report: dict[str, Any]) -> list[str]:
    """Return the arms that stand in the ladder alone."""
    own = {"bare", "gpt2zh-1", f"gpt2zh-1@{BEST}"}
    return [name for name in ladder() if name not in own and name in report["arms"]]


def _rate(report: dict[str, Any], name: str) -> float | None:
    row = report["arms"].get(name)
    return row["tokens_per_second"] if row and not row["void"] else None
