"""How a global batch is cut among ranks and micro-batches. Pure arithmetic."""

from __future__ import annotations

from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import TrainConfig


def accumulation(train: TrainConfig, ranks: int) -> int:
    """Micro-batches per rank and optimizer step.

    Raises:
        UserError: The global batch cannot be split; the message says what would work.
    """
    rows, at_once = train.global_batch, train.rows_at_once
    if ranks > rows:
        raise UserError(
            f"{ranks} ranks but train.global_batch is {rows} rows: every rank needs a row; "
            f"start at most {rows} ranks or raise train.global_batch"
        )
    if rows % (at_once * ranks) == 0:
        return rows // (at_once * ranks)
    if rows % ranks == 0:
        cure = f"set train.micro_batch {micro_batches(train, ranks, most=at_once)[-1]}"
        cure += ", which keeps the global batch"
    else:
        counts = [n for n in range(1, rows + 1) if rows % (n * at_once) == 0]
        near = sorted(sorted(counts, key=lambda n: abs(n - ranks))[:3])
        whole = at_once * ranks
        cure = f"begin another run with train.global_batch {-(-rows // whole) * whole}"
        if near:
            cure = f"start {' or '.join(map(str, near))} ranks, or {cure}"
    portion = f"{ranks} ranks"
    if at_once > 1:
        portion = f"train.micro_batch x ranks = {at_once} x {ranks}"
    raise UserError(f"train.global_batch {rows} is no multiple of {portion}; {cure}")


def micro_batches(train: TrainConfig, ranks: int, *, most: int) -> list[int]:
    """The micro-batches that divide a rank's rows, rising from 1.

    Args:
        train: Owner of the global batch.
        ranks: Processes, which divide it.
        most: The largest one that is looked for.
    """
    mine = train.global_batch // ranks
    return [rows for rows in range(1, min(most, mine) + 1) if mine % rows == 0]
