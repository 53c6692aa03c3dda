"""The tables, made from the JSON alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.harness.cli import table
from benchmarks.harness.machine import heading
from benchmarks.time_to_loss.curve import AXES, final, pairs, shares, spread
from benchmarks.time_to_loss.recipes import ARMS, SEED, SEED_LR


def markdown(report: dict[str, Any]) -> str:
    """Return the whole report."""
    runs = report["runs"]
    names = list(dict.fromkeys(run["arm"] for run in runs))
    bases = [name for name in (SEED, SEED_LR) if name in names]
    parts = [_heading(report), _arms(runs, names, bases), _verdict(runs, names, bases)]
    return "\n\n".join([*filter(None, parts), _curves(runs)]) + "\n"


def _heading(report: dict[str, Any]) -> str:
    preset, model, text = report["preset"], report["preset"]["model"], report["text"]
    lines = [
        heading(report["machine"]),
        f"GPT-2 {model['layers']} x {model['width']}, rows of {model['context']} tokens, "
        f"{preset['rows']} a step, {preset['tokens']:,} tokens a run; {text['megabytes']:.0f} MB "
        f"of text. Held out: {text['characters']:,} characters in {text['documents']:,} documents, "
        "also short ones, of which zero_nlp's packing keeps nothing.",
        f"The given tokenizer does not decode {text['lost_share']:.2%} of these characters "
        "exactly, and so need not predict them; builtin loses none. Compare bits per character of "
        "arms with the same tokenizer.",
        "All arms run on gpt2zh's engine: this is what the recipe is worth, without the speed of "
        "the software.",
    ]
    if not report["machine"]["on_gpu"]:
        lines.append(
            "**Measured on a CPU with a toy model and few tokens**: it shows which recipe learns "
            "more from a token, not how long a real run on a GPU takes."
        )
    return "\n".join(lines)


def _arms(runs: list[dict[str, Any]], names: list[str], bases: list[str]) -> str:
    columns = ["arm", "what", "M tokens", "s", "tokens/s", "bits/character"]
    for base in bases:
        columns += [f"tokens to {base}'s", f"seconds to {base}'s"]
    rows = []
    for name in names:
        mine = [run for run in runs if run["arm"] == name]
        last = [run["points"][-1] for run in mine]
        seconds = [point["seconds"] for point in last]
        row = [
            *(name, ARMS[name].meaning),
            f"{last[0]['tokens'] / 1e6:.2f}",
            _ranged(seconds, ".0f"),
            f"{sum(p['tokens'] for p in last) / sum(seconds):,.0f}",
            _ranged([final(run) for run in mine], ".3f"),
        ]
        rows.append(row + [_share(shares(runs, name, b, axis)) for b in bases for axis in AXES])
    note = (
        "Mean over the seeds and half the distance between them. Last columns: the share of the "
        "other arm's cost after which this arm is as good as the other at its end; `never` if it "
        "is not."
    )
    return note + "\n\n" + table(columns, rows)


def _verdict(runs: list[dict[str, Any]], names: list[str], bases: list[str]) -> str:
    lines = []
    for name, base in ((name, base) for name in names for base in bases):
        parts = ARMS[name].parts
        margins = [final(run) - final(other) for run, other in pairs(runs, name, base)]
        if parts == 1 or not margins:
            continue
        reached = sum(margin <= 0 for margin in margins)
        lines.append(
            f"- {name}, whose schedule ends after 1/{parts} of the tokens, ends "
            f"{_ranged(margins, '+.3f')} bits/character from {base} at its end: as good or "
            f"better with {reached} of {len(margins)} seeds."
        )
        if parts == 3 and base == SEED:
            met = "met" if reached == len(margins) else "**not met**"
            lines.append(f"  The goal, {SEED}'s quality for a third of its tokens: {met}.")
    return "\n".join(lines)


def _curves(runs: list[dict[str, Any]]) -> str:
    rows = []
    for run in runs:
        cells = [
            f"{p['bits_per_character']:.3f} @ {p['tokens'] / 1e6:.2f} M, {p['seconds']:.0f} s"
            for p in run["points"]
        ]
        rows.append([run["arm"], str(run["seed"]), ", ".join(cells)])
    return "Bits per character on the way:\n\n" + table(["arm", "seed", "points"], rows)


def _ranged(values: Sequence[float], form: str) -> str:
    mean, half = spread(values)
    return f"{mean:{form}}" + (f" +- {half:{form.lstrip('+')}}" if len(values) > 1 else "")


def _share(found: Sequence[float | None]) -> str:
    reached = [share for share in found if share is not None]
    if len(reached) < len(found):
        return f"never with {len(found) - len(reached)} of {len(found)}"
    return _ranged(reached, ".2f") if reached else ""
