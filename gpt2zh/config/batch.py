"""Divide a global batch into ranks and micro-batches. Pure arithmetic."""

from __future__ import annotations

from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import TrainConfig


def count_accumulation_steps(train: TrainConfig, ranks: int) -> int:
    """Return the micro-batches per rank and optimizer step.

    Raises:
        UserError: The global batch cannot be divided; the message says what would work.
    """
    rows, at_once = train.global_batch, train.rows_at_once
    if ranks > rows:
        raise UserError(
            f"{ranks} ranks but train.global_batch is {rows} rows: every rank needs at least one "
            f"row; start at most {rows} ranks or raise train.global_batch"
        )
    if rows % (at_once * ranks) == 0:
        return rows // (at_once * ranks)
    if rows % ranks == 0:
        cure = f"set train.micro_batch {list_micro_batches(train, ranks, most=at_once)[-1]}"
        cure += ", which keeps the global batch"
    else:
        counts = [n for n in range(1, rows + 1) if rows % (n * at_once) == 0]
        near = sorted(sorted(counts, key=lambda n: abs(n - ranks))[:3])
        whole = at_once * ranks
        cure = f"start a new run with train.global_batch {-(-rows // whole) * whole}"
        if near:
            cure = f"start {' or '.join(map(str, near))} ranks, or {cure}"
    portion = f"{ranks} ranks"
    if at_once > 1:
        portion = f"train.micro_batch x ranks = {at_once} x {ranks}"
    raise UserError(f"train.global_batch {rows} is not a multiple of {portion}; {cure}")


def list_micro_batches(train: TrainConfig, ranks: int, *, most: int) -> list[int]:
    """Return the micro-batches that divide a rank's rows of a step, from 1 upwards.

    Args:
        train: Owner of the global batch.
        ranks: Number of processes; divides the global batch.
        most: Largest micro-batch to return.
    """
    mine = train.global_batch // ranks
    return [rows for rows in range(1, min(most, mine) + 1) if mine % rows == 0]
