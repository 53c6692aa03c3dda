"""A new act: train a model to repeat what stands before a bar, with loss on the repetition only."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gpt2zh.acts.launch import launch
from gpt2zh.config.schema import LaunchOptions, TrainingConfig
from gpt2zh.data.batch import Batch, batch_of
from gpt2zh.data.order import rows_at
from gpt2zh.plan import make
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer


@dataclass(frozen=True, kw_only=True)
class EchoConfig(TrainingConfig):
    """Train on made-up words that are said twice."""

    act: ClassVar[str] = "echo"
    """Name of the act."""
    tokenizer: Path
    """Folder or file of the tokenizer."""
    words: int = 40
    """Words to repeat."""


class EchoData:
    """Rows `word | word`, padded: the words have 1 to 5 tokens."""

    held_out = ()
    skipped_rows = 0

    def __init__(self, config: EchoConfig) -> None:
        self.tokenizer = load_tokenizer(config.tokenizer)
        self.document_start_id = self.tokenizer.eos_id
        self.rows, self.seed = config.words, config.seed
        self.identity = {"data": f"{config.words} words", "tokenizer": self.tokenizer.hash}

    def order(self, position: int, count: int) -> np.ndarray:
        return rows_at(position, count, rows=self.rows, seed=self.seed)

    def make_batch(self, numbers: np.ndarray, step: int) -> Batch[np.ndarray]:
        rows = np.full((len(numbers), 16), self.tokenizer.pad_id, np.int64)
        counted = np.zeros(rows.shape, bool)
        for row, mask, number in zip(rows, counted, numbers.tolist(), strict=True):
            length = 1 + number % 5
            word = 20 + np.arange(number, number + length) % 100
            row[: 2 * length + 1] = [*word, self.document_start_id, *word]
            mask[length + 1 : 2 * length + 1] = True
        return batch_of(rows, pad_id=self.tokenizer.pad_id, numbers=numbers, counted=counted)

    def epochs(self, rows: int) -> dict[str, float]:
        return {"words": rows / self.rows}

    def describe(self) -> list[str]:
        return []

    def describe_row(self, number: int) -> dict[str, Any]:
        return {"number": number, "length": 1 + number % 5}


def make_plan(
    config: EchoConfig, options: LaunchOptions, world: World, device: Callable[[], Device] | None
) -> RunPlan:
    return make.make_plan(config, options, world, lambda faults: EchoData(config), device)


if __name__ == "__main__":
    sys.exit(launch(EchoConfig, make_plan))
