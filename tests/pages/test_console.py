"""Tables, paragraphs and progress on a terminal."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2zh.pages.console import Progress, command, paragraph, table
from gpt2zh.pages.numbers import approximate


class Terminal(io.StringIO):
    """A text stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def clock_of(*times: float) -> Callable[[], float]:
    """Return a clock that shows these times, one after the other."""
    return iter(times).__next__


def test_columns_align_where_hanzi_are_two_wide() -> None:
    assert table([["名", "n"], ["abc", "10"], ["一二三", "1"]]) == [
        "名       n",
        "abc     10",
        "一二三   1",
    ]


def test_several_columns_can_hold_text() -> None:
    assert table([["a", "bb", "1"], ["aaa", "b", "22"]], left=(0, 1)) == [
        "a    bb   1",
        "aaa  b   22",
    ]


def test_rows_of_different_lengths_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table([["a", "b"], ["c"]])


def test_a_paragraph_is_wrapped_between_words_next_to_its_label() -> None:
    lines = paragraph("options", [f"name_{number}=value" for number in range(12)])
    assert len(lines) > 1 and all(len(line) <= 100 for line in lines)
    assert lines[0].startswith("options     name_0=value ") and lines[1].startswith(" " * 12 + "n")
    assert paragraph("options", ["x" * 200]) == [f"options     {'x' * 200}"]
    assert paragraph("options", []) == []


@pytest.mark.parametrize(("stream", "end"), [(Terminal(), ""), (io.StringIO(), "\n")])
def test_progress_shows_share_speed_and_time_left(stream: io.StringIO, end: str) -> None:
    clock = clock_of(0.0, 100.0, 100.1)
    progress = Progress("preparing", 400_000_000, stream=stream, clock=clock)
    progress.show(100_000_000)
    progress.show(100_100_000)  # too soon after the last
    shown = stream.getvalue()
    assert shown.strip("\r \n") == "preparing  25 % of 400.0 MB, 1.00 MB/s, 5 min 0 s left"
    assert shown.endswith("\n") == bool(end)


def test_progress_never_says_100_percent_before_the_end() -> None:
    stream = io.StringIO()
    progress = Progress("reading", 1000, stream=stream, clock=clock_of(0, 100, 200))
    progress.show(999)
    progress.show(1000)
    first, last = stream.getvalue().splitlines()
    assert "reading  99 % of" in first and "reading 100 % of" in last and "0 s left" in last


def test_work_that_was_done_earlier_does_not_count_for_the_speed() -> None:
    stream = io.StringIO()
    clock = clock_of(0, 100, 200)
    progress = Progress("preparing", 10_000, before=5000, stream=stream, clock=clock)
    progress.show(5000)
    progress.show(6000)
    first, second = stream.getvalue().splitlines()
    assert first == "preparing  50 % of 10.0 kB, 0 B/s, time left not known yet"
    assert second == "preparing  60 % of 10.0 kB, 5 B/s, 13 min 20 s left"


def test_progress_can_count_other_things_than_bytes() -> None:
    stream = io.StringIO()
    progress = Progress(
        "training", 2_000_000, amount=approximate, stream=stream, clock=clock_of(0, 100)
    )
    progress.show(1_000_000)
    assert stream.getvalue() == "training  50 % of 2 million, 10,000/s, 1 min 40 s left\n"


def test_a_terminal_line_is_overwritten_in_full_and_cleared_at_the_end() -> None:
    stream = Terminal()
    progress = Progress("reading", 10**9, stream=stream, clock=clock_of(0, 1, 2))
    progress.show(1000)
    progress.show(10**9)
    progress.close()
    _, long, short, blank, end = stream.getvalue().split("\r")
    assert len(long) == len(short) and short.rstrip() != short
    assert blank.isspace() and len(blank) >= len(short.rstrip()) and not end


def test_an_empty_work_is_done_at_once() -> None:
    stream = io.StringIO()
    progress = Progress("reading", 0, stream=stream, clock=clock_of(0, 100))
    progress.show(0)
    assert stream.getvalue() == "reading   0 % of 1 B, 0 B/s, time left not known yet\n"


def test_more_than_was_expected_is_the_end_and_no_time_is_negative() -> None:
    stream = io.StringIO()
    progress = Progress("reading", 1000, stream=stream, clock=clock_of(0, 100))
    progress.show(1500)
    assert stream.getvalue() == "reading 100 % of 1.00 kB, 10 B/s, 0 s left\n"


@pytest.mark.parametrize("word", ["a b", "it's", "*.csv", "语料", "$HOME", "plain/path.yaml", ""])
def test_a_shell_takes_each_word_of_a_command_as_it_is(word: str) -> None:
    assert shlex.split(command("python", "-m", Path(word), word))[3:] == [word]
