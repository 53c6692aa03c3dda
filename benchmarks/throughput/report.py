"""The tables, made from the JSON alone."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.cli import table
from benchmarks.harness.machine import heading
from benchmarks.throughput.recipes import MAIN, ladder
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.computing import speed
from gpt2zh.model.shape import flops_per_token

_GOAL_CARD = "RTX 3090"
_SMALLEST_PREDICTED = 512  # the time of narrower models depends on small products


def markdown(report: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = [heading(report["machine"])]
    if "arms" in report:
        parts[0] += "\n" + _run(report)
        parts += [_arms(report), _ladder(report), predicted(report)]
    if "overhead" in report:
        parts.append(overhead(report["overhead"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _run(report: dict[str, Any]) -> str:
    job, facts, peak = report["job"], report["facts"], report["peak_flops"]
    shape = job["model"]
    lines = [
        f"GPT-2 of {facts['parameters'] / 1e6:.1f} M parameters ({shape['layers']} x "
        f"{shape['width']}, vocabulary {facts['vocabulary']}), rows of {shape['context']} tokens, "
        f"{job['global_batch']} rows a step ({facts['tokens_per_step']:,.0f} real tokens) of "
        f"{report['data']}.",
        "MFU: 6 (12 L D^2 + V D) + 12 L D T FLOPs per token, attention not halved = "
        f"{facts['flops_per_token'] / 1e9:.4f} GF, of "
        + (f"a peak of {peak / 1e12:.1f} TFLOP/s." if peak else "a peak that is not known here."),
        f"Every process: {job['warmup']} steps of warm-up, then a window of {job['steps']}; "
        "times are those of all windows.",
    ]
    if not report["machine"]["on_gpu"]:
        lines.append("**On a CPU these speeds say nothing about a GPU**; the losses do.")
    return "\n".join(lines)


def _arms(report: dict[str, Any]) -> str:
    bases = [name for name in ("hf-seed", "hf-best", "bare") if name in report["arms"]]
    rows = []
    for name, row in report["arms"].items():
        cells, rate = [name, str(row["recipe"]["micro_batch"])], _rate(report, name)
        if rate is None:
            rows.append([*cells, f"**void**: {row['void']}"])
            continue
        cells += [f"{rate:,.0f}", *(f"{row[key]:.1f}" for key in ("median_ms", "p10_ms", "p90_ms"))]
        cells += [f"{row['mfu']:.1%}" if row["mfu"] else "", f"{row['peak_gib']:.2f}"]
        cells += [f"{row['last_loss']:.4f}", f"{row['held_out']:.4f}"]
        others = [_rate(report, base) for base in bases]
        rows.append([*cells, *(f"{rate / other:.2f}" if other else "" for other in others)])
    columns = ["arm", "micro-batch", "tokens/s", "ms/step", "p10", "p90", "MFU", "peak GiB"]
    columns += [f"loss at {report['job']['total_steps']}", "held-out"]
    return table([*columns, *(f"x {base}" for base in bases)], rows)


def _ladder(report: dict[str, Any]) -> str:
    rungs = [name for name in ladder(report["job"]["micro_batch"]) if name in report["arms"]]
    if set(rungs) <= set(MAIN):
        return ""
    lines, before = [], None
    for name in rungs:
        rate = _rate(report, name)
        change = f"{rate / before - 1:+.1%}" if rate and before else ""
        lines.append([name, f"{rate:,.0f}" if rate else "**void**", change])
        before = rate
    title = "From hf-best in a bare loop to ours, one switch more a rung (at bare: bf16 weights):"
    return f"{title}\n\n" + table(["rung", "tokens/s", "change"], lines)


def predicted(report: dict[str, Any]) -> str:
    """Return what the card of the goal, and the one that was measured, should reach."""
    shape, vocabulary = ModelConfig(**report["job"]["model"]), report["facts"]["vocabulary"]
    if shape.width < _SMALLEST_PREDICTED:
        return ""
    lines = []
    flops = flops_per_token(shape, vocabulary)
    names = (_GOAL_CARD, report["machine"]["device"])
    for card in filter(None, dict.fromkeys(map(card_named, names))):
        found = speed(card, shape, vocabulary, is_compiled=True)
        rates = (found.expected, found.best)
        expected, best = (f"{r:,.0f} (MFU {r * flops / card.peak:.0%})" for r in rates)
        lines.append(f"{card.name}: {expected}, at best {best}")
    return f"Predicted tokens/s, not measured: {'; '.join(lines)}."


def overhead(found: dict[str, Any]) -> str:
    """Return the table of the arm `overhead`: what a step takes more than a bare one."""
    rows = []
    for case in found["cases"]:
        more, ours = case["deepspeed_more_ms"], case["gpt2zh_more_ms"]
        cells = [case["precision"], str(case["stage"]), str(case["micro_batches"])]
        rows.append([*cells, f"{case['torch_ms']:.1f}", f"{ours:+.2f}", f"{ours - more:+.2f}"])
    columns = ["precision", "ZeRO", "micro-batches", "bare step", "gpt2zh more", "ours of that"]
    return (
        f"What the engine costs besides the mathematics: {found['tensors']} parameter tensors, "
        f"medians of {found['rounds']} steps, ms.\n\n"
    ) + table(columns, rows)


def _rate(report: dict[str, Any], name: str) -> float | None:
    row = report["arms"].get(name)
    return row["tokens_per_second"] if row and not row["void"] else None
