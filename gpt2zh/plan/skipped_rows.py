"""Rows that are read without loss: numbers, ranges, and the files that runs write of bad steps."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt2zh.config.errors import UserError

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def read_rows(texts: Sequence[str], *, rows: int) -> np.ndarray:
    """Return the row numbers that `--skip-rows` names, sorted, each once, (n,) int64.

    Args:
        texts: `17`, `40-47`, several with commas, or a JSON file with a list of them under `rows`.
        rows: Number of rows of the data.

    Raises:
        UserError: A text is none of these, or names a row that does not exist.
    """
    chosen: set[int] = set()
    for text in (part.strip() for given in texts for part in given.split(",")):
        match = _RANGE.fullmatch(text)
        named: Sequence[int]
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise UserError(f"skip_rows: {text} ends before it begins; write {last}-{first}")
            named = range(first, last + 1)
        else:
            named = _of_file(Path(text))
            last = max(named, default=0)
        if last >= rows:
            raise UserError(f"skip_rows: {text} names row {last}, but the last is {rows - 1}")
        chosen |= set(named)
    return np.array(sorted(chosen), np.int64)


def _of_file(path: Path) -> Sequence[int]:
    try:
        numbers = [int(row["number"]) for row in json.loads(path.read_text("utf-8"))["rows"]]
    except OSError as error:
        raise UserError(
            f"skip_rows: '{path}' is neither a row (17), a range (40-47) nor a file that can be "
            f"read ({error.strerror})"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"skip_rows: {path} is not the file of a bad step: it has no list of rows"
        ) from error
    if min(numbers, default=0) < 0:
        raise UserError(f"skip_rows: {path} names row {min(numbers)}, but the first is 0")
    return numbers
