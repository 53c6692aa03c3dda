"""The tables, made from the JSON alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.harness.cli import table
from benchmarks.harness.machine import heading
from benchmarks.time_to_loss.curve import AXES, bits, final, shares, spread
from benchmarks.time_to_loss.recipes import ARMS, SEED, SEED_TUNED


def markdown(report: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = [_heading(report), _arms(report), _verdict(report), _curves(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(report: dict[str, Any]) -> str:
    job, text, tokenizers = report["job"], report["text"], report["tokenizers"]
    lines = [
        heading(report["machine"]) + f" {report['jobs']} runs at the same time.",
        f"GPT-2 {job['layers']} x {job['width']}, rows of {job['context']} tokens, {job['rows']} a "
        f"step, {job['tokens']:,} tokens a run; {text['megabytes']:.0f} MB of text. Held out: "
        f"{text['characters']:,} characters, {text['long_share']:.0%} of them in documents of "
        "which zero_nlp's packing keeps something (`long`).",
        "Characters that a tokenizer does not decode exactly, and so need not be predicted: "
        + ", ".join(f"{name} {row['lost']:.2%}" for name, row in tokenizers.items())
        + ". Compare bits per character of arms with the same one.",
        "All arms run on gpt2zh's engine: this is what the recipe is worth, without the speed of "
        "the software.",
    ]
    if not report["machine"]["on_gpu"]:
        lines.append(
            "**Measured on a CPU with a toy model and few tokens**: it shows which recipe learns "
            "more from a token, not how long a real run on a GPU takes."
        )
    return "\n".join(lines)


def _arms(report: dict[str, Any]) -> str:
    columns = ["arm", "what", "M tokens", "s", "tokens/s", "bits/character", "long"]
    for base in _bases(report):
        columns += [f"tokens to {base}'s", f"seconds to {base}'s"]
    rows = []
    for name in _names(report):
        runs = [run for run in report["runs"] if run["arm"] == name]
        last = [run["points"][-1] for run in runs]
        seconds = [point["seconds"] for point in last]
        row = [
            *(name, ARMS[name].meaning),
            f"{last[0]['tokens'] / 1e6:.2f}",
            _ranged(seconds, ".0f"),
            f"{sum(p['tokens'] for p in last) / sum(seconds):,.0f}",
            _ranged([final(run) for run in runs], ".3f"),
            _ranged([final(run, ["long"]) for run in runs], ".3f"),
        ]
        for base in _bases(report):
            row += [_share(shares(report["runs"], name, base, axis)) for axis in AXES]
        rows.append(row)
    note = (
        "Mean over the seeds and half the distance between them. Last columns: the share of the "
        "other arm's cost after which this arm is as good as the other at its end; `never` if it "
        "is not."
    )
    return note + "\n\n" + table(columns, rows)


def _verdict(report: dict[str, Any]) -> str:
    lines = []
    for name in _names(report):
        arm = ARMS[name]
        if arm.parts == 1 or arm.tokenizer != "given":
            continue
        for base in _bases(report):
            margins = [
                final(run) - final(other)
                for run in report["runs"]
                for other in report["runs"]
                if (run["arm"], other["arm"]) == (name, base) and run["seed"] == other["seed"]
            ]
            reached = sum(margin <= 0 for margin in margins)
            lines.append(
                f"- {name}, whose schedule ends after 1/{arm.parts} of the tokens, ends "
                f"{_ranged(margins, '+.3f')} bits/character from {base} at its end: as good or "
                f"better with {reached} of {len(margins)} seeds."
            )
            if arm.parts == 3 and base == SEED:
                met = "met" if reached == len(margins) else "**not met**"
                lines.append(f"  The goal, {SEED}'s quality for a third of its tokens: {met}.")
    return "\n".join(lines)


def _curves(report: dict[str, Any]) -> str:
    rows = []
    for run in report["runs"]:
        cells = [
            f"{bits(p):.3f} @ {p['tokens'] / 1e6:.2f} M, {p['seconds']:.0f} s"
            for p in run["points"]
        ]
        rows.append([run["arm"], str(run["seed"]), ", ".join(cells)])
    return "Bits per character on the way:\n\n" + table(["arm", "seed", "points"], rows)


def _names(report: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(run["arm"] for run in report["runs"]))


def _bases(report: dict[str, Any]) -> list[str]:
    return [name for name in (SEED, SEED_TUNED) if name in _names(report)]


def _ranged(values: Sequence[float], form: str) -> str:
    mean, half = spread(values)
    return f"{mean:{form}}" + (f" +- {half:{form.lstrip('+')}}" if len(values) > 1 else "")


def _share(found: dict[int, float | None]) -> str:
    reached = [share for share in found.values() if share is not None]
    if len(reached) < len(found):
        return f"never with {len(found) - len(reached)} of {len(found)}" if found else ""
    return _ranged(reached, ".2f") if reached else ""
