"""Draw the losses of a run as an SVG: python demo/curve.py RUN > curve.svg.

It reads metrics.jsonl alone and needs nothing but Python. The README shows that of `make demo`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 16, 34, 34
STYLE = """
    svg { font: 13px sans-serif; }
    rect { fill: #ffffff; } text { fill: #57606a; } .grid { stroke: #d8dee4; }
    .train { stroke: #2f6fb7; fill: none; stroke-width: 2; } .train-name { fill: #2f6fb7; }
    .held { fill: #c4571b; } .held-name { fill: #c4571b; }
    @media (prefers-color-scheme: dark) {
      rect { fill: #0d1117; } text { fill: #9198a1; } .grid { stroke: #30363d; }
      .train { stroke: #6cb0f2; } .train-name { fill: #6cb0f2; }
      .held { fill: #f0925a; } .held-name { fill: #f0925a; }
    }"""

Point = tuple[int, float]
"""A step and a loss."""


def losses(metrics: Path, kind: str) -> list[Point]:
    """Return the losses of one kind of line of a metrics.jsonl, in the order of the steps.

    A line has no loss if it was not finite. Of a step that was trained twice the later one counts.
    """
    lines = map(json.loads, metrics.read_text("utf-8").splitlines())
    found = {line["step"]: line.get("loss") for line in lines if line["kind"] == kind}
    return sorted((step, loss) for step, loss in found.items() if loss is not None)


def draw(train: Sequence[Point], held_out: Sequence[Point]) -> str:
    """Return the SVG of two curves: training as a line, validation as dots."""
    if not train:
        raise SystemExit("error: no losses yet; a run writes the first one at its first step")
    both = [*train, *held_out]
    last = max(step for step, _ in both)
    low = math.floor(min(loss for _, loss in both))
    high = math.ceil(max(loss for _, loss in both))
    high = max(high, low + 1)

    def x_of(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / last, 1)

    def y_of(loss: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low), 1)

    marks = []
    for loss in range(low, high + 1):
        y = y_of(loss)
        marks.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
        marks.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{loss}</text>')
    for part in range(5):
        step = round(last * part / 4)
        anchor = "end" if part == 4 else "middle"
        at = f'x="{x_of(step)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="{anchor}"'
        marks.append(f"<text {at}>{step:,}</text>")
    points = " ".join(f"{x_of(step)},{y_of(loss)}" for step, loss in train)
    marks.append(f'<polyline class="train" points="{points}"/>')
    marks += [
        f'<circle class="held" cx="{x_of(step)}" cy="{y_of(loss)}" r="4"/>'
        for step, loss in held_out
    ]
    names = (
        f'<text x="{LEFT}" y="20">loss / step</text>'
        f'<text class="train-name" x="{WIDTH - RIGHT}" y="20" text-anchor="end">'
        "\u2014 \u8bad\u7ec3 training</text>"
        f'<text class="held-name" x="{WIDTH - RIGHT - 120}" y="20" text-anchor="end">'
        "\u25cf \u9a8c\u8bc1 validation</text>"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>Loss of {last:,} steps, from {train[0][1]:.2f} to {train[-1][1]:.2f}</title>",
            f"<style>{STYLE}\n</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}"/>',
            *marks,
            names,
            "</svg>\n",
        ]
    )


def main(argv: Sequence[str]) -> None:
    """Print the SVG of the run that the command line names."""
    if len(argv) != 1:
        raise SystemExit("usage: python demo/curve.py RUN > curve.svg")
    metrics = Path(argv[0]) / "metrics.jsonl"
    if not metrics.is_file():
        raise SystemExit(f"error: {metrics} does not exist; give the folder of a run")
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(draw(losses(metrics, "train"), losses(metrics, "validation")), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
