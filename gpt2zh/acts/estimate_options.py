"""Options of `gpt2zh estimate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gpt2zh.config.schema import (
    CheckpointConfig,
    GuardConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    ValidationConfig,
)

# So that any preset and the config of any run is read; nothing of it changes the memory.
_FOR_FILES = {"help": False}


@dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """Tell what memory a training needs, before any GPU is taken."""

    ranks: int = 1
    """GPUs that train together."""
    cards: tuple[float, ...] = (24.0, 40.0, 80.0, 141.0)
    """Memory of GPUs in GiB. The largest micro-batches are told for each; what the config leaves
    open (micro_batch auto, no deepspeed_config) is chosen for the first."""
    tokenizer: str = "builtin"
    """What gives the vocabulary: builtin, bert-base-chinese, or a folder with a tokenizer.json."""
    vocabulary: int | None = None
    """Number of tokens; null takes that of the tokenizer."""
    deepspeed_config: Path | None = None
    """DeepSpeed JSON; null takes the lowest ZeRO stage that fits the first card."""
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig, metadata=_FOR_FILES)
    validation: ValidationConfig = field(default_factory=ValidationConfig, metadata=_FOR_FILES)
    log: LogConfig = field(default_factory=LogConfig, metadata=_FOR_FILES)
    guard: GuardConfig = field(default_factory=GuardConfig, metadata=_FOR_FILES)
    data: tuple[str, ...] = field(default=(), metadata=_FOR_FILES)
    """Not used."""
    output: Path | None = field(default=None, metadata=_FOR_FILES)
    """Not used."""
    seed: int = field(default=1, metadata=_FOR_FILES)
    """Not used."""
    verify_data: bool = field(default=True, metadata=_FOR_FILES)
    """Not used."""
    skip_rows: tuple[str, ...] = field(default=(), metadata=_FOR_FILES)
    """Not used."""
