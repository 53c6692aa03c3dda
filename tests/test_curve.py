"""demo/curve.py: the picture of a run's losses."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "demo" / "curve.py"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def curve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("curve", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_metrics(run: Path, *lines: tuple[str, int, float]) -> None:
    table = [{"kind": kind, "step": step, "loss": loss} for kind, step, loss in lines]
    table += [
        {"kind": "resume", "step": 2},
        {"kind": "train", "step": 9, "loss": None},
    ]  # the loss was NaN
    text = "".join(json.dumps(line) + "\n" for line in table)
    (run / "metrics.jsonl").write_text(text, "utf-8")


def test_a_curve_falls_from_the_first_loss_to_the_last(
    curve: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path, ("train", 1, 7.5), ("train", 4, 4.25), ("validation", 4, 5.5))
    curve.main([str(tmp_path)])
    root = ET.fromstring(capsys.readouterr().out)
    assert root.findtext(f"{SVG}title") == "Loss of 4 steps, from 7.50 to 4.25"
    (line,) = root.findall(f"{SVG}polyline")
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert x1 < x2 and y1 < y2
    (dot,) = root.findall(f"{SVG}circle")
    assert float(dot.attrib["cx"]) == x2 and y1 < float(dot.attrib["cy"]) < y2


def test_the_later_of_two_losses_of_a_step_counts(curve: ModuleType, tmp_path: Path) -> None:
    """A run that went back to a checkpoint has some steps twice."""
    write_metrics(tmp_path, ("train", 1, 7.5), ("train", 2, 6.0), ("train", 2, 5.0))
    assert curve.losses(tmp_path / "metrics.jsonl", "train") == [(1, 7.5), (2, 5.0)]


def test_a_folder_without_metrics_is_refused(curve: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"metrics\.jsonl does not exist; give the folder of a run"
    ):
        curve.main([str(tmp_path)])
    with pytest.raises(SystemExit, match="usage"):
        curve.main([])


def test_a_run_without_losses_is_refused(curve: ModuleType, tmp_path: Path) -> None:
    write_metrics(tmp_path)
    with pytest.raises(SystemExit, match="no losses yet"):
        curve.main([str(tmp_path)])
