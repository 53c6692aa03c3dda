"""Figures on disk: the same in metrics.jsonl and TensorBoard, and none twice after a resume."""

from __future__ import annotations

import json
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from gpt2zh.run.telemetry import (
    METRICS,
    TENSORBOARD,
    Clock,
    RowLog,
    RunLog,
    read_peak_memory,
)


@pytest.fixture(autouse=True)
def file_numbers_of_equal_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard orders the files of one second by their numbers as text: 10 before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1000))


def write(run: Path, steps: range, *, resumed_at: int) -> None:
    run.mkdir(exist_ok=True)
    log = RunLog(run, resumed_at=resumed_at)
    for step in steps:
        chain = f"{step:064x}"
        log.scalars(step, "train", {"loss": 10.0 / step, "lr": step / 8, "mfu": None}, chain=chain)
        if step % 2 == 0:
            log.scalars(step, "validation", {"loss": 20.0 / step}, chain=chain)
    log.flush()
    log.close()


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / METRICS).read_text("utf-8").split("\n") if line]


def board(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / TENSORBOARD), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def figures_agree(run: Path) -> None:
    """TensorBoard has exactly the scalars of metrics.jsonl."""
    events = board(run)
    expected: dict[str, dict[int, float]] = {}
    for record in records(run):
        for name, value in record.items():
            if name not in ("step", "kind", "texts", "chain"):
                expected.setdefault(f"{record['kind']}/{name}", {})[record["step"]] = value
    assert sorted(events.Tags()["scalars"]) == sorted(expected)
    for tag, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == sorted(values), tag
        assert dict(found) == pytest.approx(values), tag


def test_metrics_and_tensorboard_hold_the_same_figures(tmp_path: Path) -> None:
    write(tmp_path, range(1, 7), resumed_at=0)
    first = records(tmp_path)[0]
    figures = {"loss": 10.0, "lr": 0.125}  # None is left out
    assert first == {"step": 1, "kind": "train", **figures, "chain": f"{1:064x}"}
    assert len(records(tmp_path)) == 9
    figures_agree(tmp_path)


@pytest.mark.parametrize("tail", ["", '{"step": 7, "ki', "\x00\x00\x00", "\n"])
def test_a_resume_drops_what_will_be_trained_again(tmp_path: Path, tail: str) -> None:
    write(tmp_path, range(1, 7), resumed_at=0)
    with (tmp_path / METRICS).open("a") as file:
        file.write(tail)  # killed while writing
    write(tmp_path, range(4, 6), resumed_at=3)
    steps = [record["step"] for record in records(tmp_path) if record["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5]
    assert not list(tmp_path.glob("*.tmp"))
    figures_agree(tmp_path)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_a_figure_that_is_not_finite_is_null_for_json_has_none(
    tmp_path: Path, value: float
) -> None:
    log = RunLog(tmp_path, resumed_at=0)
    log.scalars(1, "train", {"loss": 1.0, "gradient_norm": value}, chain="00")
    log.close()
    text = (tmp_path / METRICS).read_text("utf-8")
    assert "Infinity" not in text and "NaN" not in text
    (line,) = records(tmp_path)
    assert line == {"step": 1, "kind": "train", "loss": 1.0, "gradient_norm": None, "chain": "00"}


def test_an_event_stands_in_the_file_at_once_and_goes_when_its_step_is_trained_again(
    tmp_path: Path,
) -> None:
    log = RunLog(tmp_path, resumed_at=0)
    log.event(3, "bad_step", {"fault": "loss", "rows": [4, 7], "why": "坏"}, chain="00")
    (line,) = records(tmp_path)  # before the log is flushed or closed
    facts = {"fault": "loss", "rows": [4, 7], "why": "坏"}
    assert line == {"step": 3, "kind": "bad_step", **facts, "chain": "00"}
    log.close()
    RunLog(tmp_path, resumed_at=3).close()
    assert len(records(tmp_path)) == 1
    RunLog(tmp_path, resumed_at=2).close()
    assert records(tmp_path) == []


def test_a_line_of_another_shape_does_not_stop_a_resume(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('1\n{"a": 1}\n{"step": 1, "kind": "train"}\n')
    write(tmp_path, range(2, 3), resumed_at=1)
    assert [record["step"] for record in records(tmp_path)][:2] == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "从前有座山",
        "第一行\n第二行\r\n\t“引号”",
        "一\u2028二\x85三",
    ],
)
def test_samples_survive_a_resume_as_they_were_written(tmp_path: Path, text: str) -> None:
    log = RunLog(tmp_path, resumed_at=0)
    log.samples(2, {"提示": text}, chain="00")
    log.close()
    write(tmp_path, range(3, 4), resumed_at=2)
    expected = {"step": 2, "kind": "samples", "texts": {"提示": text}, "chain": "00"}
    assert records(tmp_path)[0] == expected
    (event,) = board(tmp_path).Tensors("samples/提示/text_summary")
    assert event.step == 2
    assert event.tensor_proto.string_val[0].decode() == f"**提示**{text}"


def rows_in(run: Path) -> list[int]:
    """The numbers of a run's row file, as the format says: unsigned, 64 bits, little-endian."""
    return np.fromfile(run / "rows.u64", "<u8").tolist()


def log_rows(run: Path, *, rows: int, steps: list[list[int]]) -> None:
    log = RowLog(run, rows=rows)
    for numbers in steps:
        log.write(np.array(numbers, np.int64))
    log.close()


def test_row_numbers_stand_in_the_order_in_which_they_were_read(tmp_path: Path) -> None:
    log_rows(tmp_path, rows=0, steps=[[5, 1], [2**40, 0], [1, 1]])
    assert rows_in(tmp_path) == [5, 1, 2**40, 0, 1, 1]


@pytest.mark.parametrize("tail", [b"", b"abc", bytes(24)])
def test_a_resume_drops_the_rows_that_will_be_read_again(tmp_path: Path, tail: bytes) -> None:
    log_rows(tmp_path, rows=0, steps=[[1, 2], [3, 4], [5, 6]])
    with (tmp_path / "rows.u64").open("ab") as file:
        file.write(tail)  # killed while writing
    log_rows(tmp_path, rows=4, steps=[[5, 6], [7, 8]])
    assert rows_in(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_rows_that_were_read_before_the_file_began_are_marked_as_unknown(tmp_path: Path) -> None:
    log_rows(tmp_path, rows=3, steps=[[9]])
    assert rows_in(tmp_path) == [2**64 - 1] * 3 + [9]


def test_rows_keep_their_place_when_some_could_not_be_written(tmp_path: Path) -> None:
    log = RowLog(tmp_path, rows=0)
    log.write(np.array([1, 2]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            log.write(np.array([3, 4]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    log.write(np.array([5, 6]))
    log.close()
    assert rows_in(tmp_path) == [1, 2, 0, 0, 5, 6]


def test_the_clock_counts_training_only() -> None:
    clock = Clock()
    time.sleep(0.05)
    assert 0.04 < clock.read() < 1
    clock.exclude(100.0)
    assert clock.read() == 1e-9  # never 0: it is divided by
    assert clock.read() < 0.04


def test_peak_memory_is_in_gib() -> None:
    before = read_peak_memory(torch.device("cpu"))
    assert 0.05 < before < 64
    torch.ones(2**26)  # 256 MiB
    assert read_peak_memory(torch.device("cpu")) >= before


@pytest.mark.parametrize("foreign", [METRICS, TENSORBOARD])
def test_a_file_that_cannot_be_opened_costs_only_itself(tmp_path: Path, foreign: str) -> None:
    """Of another user, say; here it has the wrong kind, which root cannot open either."""
    if foreign == METRICS:
        (tmp_path / METRICS).mkdir()
    else:
        (tmp_path / TENSORBOARD).touch()
    log = RunLog(tmp_path, resumed_at=0)
    (fault,) = log.faults
    assert str(tmp_path / foreign) in fault
    log.scalars(1, "train", {"loss": 2.0}, chain="c")
    log.samples(1, {"a": "b"}, chain="c")
    log.event(1, "bad_step", {"step": 1}, chain="c")
    log.flush()
    log.close()
    if foreign == METRICS:
        assert [event.step for event in board(tmp_path).Scalars("train/loss")] == [1]
    else:
        assert [record["kind"] for record in records(tmp_path)] == ["train", "samples", "bad_step"]
