"""The tables of near duplicates of a folder of shards: what was dropped, and for which document.

Each preparation and each append that searched for near duplicates wrote one table, named after its
first unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import arrow_column, numpy_column
from gpt2zh.data.manifest import Manifest
from gpt2zh.files.checksum import check_size

NEAR_TABLE = pa.schema(
    [
        ("source", pa.int32()),  # number in the manifest
        ("line", pa.int64()),
        ("like_source", pa.int32()),  # of the document that stays
        ("like_line", pa.int64()),
        ("similarity", pa.float32()),
        ("is_estimate", pa.bool_()),  # from the signatures, not from both texts
    ]
)
"""One line for each document that was dropped as a near duplicate."""

_NAME = "near_duplicates-"


@dataclass(frozen=True)
class NearDuplicate:
    """A document that was dropped, and the document for which it was dropped."""

    path: str
    line: int
    like_path: str
    like_line: int
    similarity: float
    """Jaccard of their runs of five characters."""
    is_estimate: bool
    """From the signatures, since the text of the other one was in older shards."""

    @property
    def measure(self) -> str:
        """Return the similarity as a text, `0.931`; an estimate has a `~`."""
        return f"{'~' if self.is_estimate else ''}{self.similarity:.3f}"


def near_table_name(unit: int) -> str:
    """Return the file name of the table of the preparation that begins with a unit."""
    return f"{_NAME}{unit:05d}.parquet"


def is_near_table(name: str) -> bool:
    """Return whether a file of the shards is a table of near duplicates."""
    return name.startswith(_NAME)


def near_tables(folder: Path) -> list[Path]:
    """Return the tables in a folder, in their order."""
    return sorted(folder.glob(f"{_NAME}*.parquet"))


def write_near_table(file: IO[bytes], columns: Sequence[np.ndarray]) -> None:
    """Write a table; the columns are those of `NEAR_TABLE`, each (k,)."""
    table = pa.table([arrow_column(column) for column in columns], schema=NEAR_TABLE)
    coded = {name: "DELTA_BINARY_PACKED" for name in ("line", "like_line")}
    pq.write_table(
        table,
        file,
        compression="zstd",
        use_dictionary=["source", "like_source"],
        column_encoding=coded,
        write_statistics=False,
    )


def read_near_columns(folder: Path, manifest: Manifest) -> list[np.ndarray] | None:
    """Return the columns of all tables of a folder of shards, each (k,).

    Returns:
        The columns of `NEAR_TABLE` in its order; None if the shards have no table.

    Raises:
        UserError: A table is missing or damaged.
    """
    entries = [entry for entry in manifest.extras if is_near_table(entry.file)]
    if not entries:
        return None
    parts = []
    for entry in entries:
        check_size(folder, entry, kind="table of near duplicates")
        try:
            table = pq.ParquetFile(folder / entry.file).read()
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{folder / entry.file} is damaged ({error}); copy it again or prepare the shards "
                "again"
            ) from error
        parts.append([numpy_column(table[name]) for name in NEAR_TABLE.names])
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def near_duplicates(
    manifest: Manifest, columns: Sequence[np.ndarray], chosen: np.ndarray
) -> Iterator[NearDuplicate]:
    """Yield some lines of the tables.

    Args:
        manifest: Has the paths of the sources.
        columns: From `read_near_columns`.
        chosen: (c,) int64, numbers of lines.
    """
    for source, line, like_source, like_line, similarity, is_estimate in zip(
        *(column[chosen].tolist() for column in columns), strict=True
    ):
        yield NearDuplicate(
            path=manifest.sources[source].path,
            line=line,
            like_path=manifest.sources[like_source].path,
            like_line=like_line,
            similarity=similarity,
            is_estimate=is_estimate,
        )
