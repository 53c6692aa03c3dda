"""What a training run is: every knob, its default, its unit and its meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from gpt2zh.config.duration import Duration
from gpt2zh.config.stages import Stages


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of the GPT-2."""

    layers: int = 12
    """Transformer blocks."""
    heads: int = 12
    """Attention heads per block; must divide the width."""
    width: int = 768
    """Hidden size."""
    context: int = 512
    """Longest sequence in tokens; shards packed in full are read in rows of it, whatever length
    they were prepared with."""
    dropout: float = 0.0
    """Dropout probability of embeddings, attention and residuals; one epoch needs none."""
    activation: Literal["gelu_pytorch_tanh", "gelu_new"] = "gelu_pytorch_tanh"
    """GPT-2's GELU as one fused kernel, or as the original chain of operations."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How much is trained, and in what portions."""

    epochs: float = 1.0
    """Passes over the training rows, those of all corpora counted together: weights decide how
    often each one is read within; not used when steps is given."""
    steps: int | None = None
    """Optimizer steps; null takes them from epochs."""
    global_batch: int = 160
    """Rows per optimizer step over all ranks; the same on any number of ranks."""
    micro_batch: int | Literal["auto"] = 8
    """Rows per rank and forward pass; accumulation follows from it and the global batch. auto takes
    as many as the memory holds by estimate. What does not fit the device is halved before the first
    step; the global batch stays."""
    sequence_length_warmup: Stages = field(default_factory=Stages)
    """Shorter sequences in the first steps: 128:1000steps,256:500steps, then the full context; none
    for the full context throughout. The rows and the tokens of a step stay the same, each row is
    only cut into sequences of that length, which must divide the context."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of forward and backward; the optimizer always keeps fp32 weights."""
    activation_checkpointing: bool = False
    """Recompute the blocks in the backward pass: less memory, about a quarter slower."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Let torch.compile make one graph of the model; auto does so on a GPU, except at ZeRO 3, and
    goes on without if it cannot."""
    deterministic: bool = False
    """Let a GPU add in the same order every time, so that a resume there is exact to the bit; it
    costs speed. A CPU always does."""
    document_mask: bool = False
    """Let tokens attend only within their document, whose positions begin at 0; rows hold several
    documents, which see each other otherwise."""

    @property
    def rows_at_once(self) -> int:
        """`micro_batch` as the number that a plan has made of it."""
        assert self.micro_batch != "auto"
        return self.micro_batch


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW or Muon, and the learning rate."""

    kind: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon for the matrices of the blocks and AdamW for the rest: it learns more from a
    step, which takes a little longer. Begin with AdamW's learning rate; muon bears a larger one."""
    lr: float = 6e-4
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Shape after the warm-up; wsd (warmup-stable-decay) stays at the peak, then falls linearly."""
    warmup_steps: int = 100
    """Optimizer steps of linear warm-up from 0."""
    final_lr_fraction: float = 0.1
    """Learning rate of the last step as a fraction of the peak."""
    decay_fraction: float = 0.2
    """Share of all steps in which wsd falls."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's mean."""
    beta2: float = 0.95
    """AdamW's decay of the gradient's square."""
    eps: float = 1e-8
    """AdamW's guard against division by zero."""
    momentum: float = 0.95
    """Muon's decay of the gradient's mean."""
    weight_decay: float = 0.1
    """Decay of matrices and embeddings; biases and norms have none."""
    max_grad_norm: float = 1.0
    """Largest global gradient norm; 0 clips nothing."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the run is saved, and what is kept."""

    every: Duration = field(default_factory=lambda: Duration(steps=1000, seconds=600))
    """Period of saving: 500steps, 10min, both (500steps,10min) or never; the end and a stop always
    save."""
    keep_last: int = 3
    """Newest checkpoints kept, in number; at least 2, for a disk may ruin one."""
    keep_best: bool = False
    """Keep the checkpoint of the lowest validation loss, too, and save one when a validation finds
    a lower loss."""
    keep_every: int = 0
    """Checkpoints at multiples of this many steps are kept for good; 0 keeps only the newest."""
    async_save: bool = True
    """Train on while a copy in host memory is written; false waits until it is on the disk."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What is measured on held-out text, and when."""

    every: Duration = field(default_factory=lambda: Duration(steps=1000))
    """Period of validation: 1000steps, 30min, both or never; the end always validates."""
    rows: int = 512
    """Rows of the validation split that are read, evenly spread over it (of several corpora, shared
    out by their sizes); 0 reads all."""
    patience: int = 0
    """Stop after this many validations in a row without a lower loss; 0 never stops for it."""
    prompts: tuple[str, ...] = ("从前有座山", "今天天气")
    """Texts continued at each validation."""
    sample_tokens: int = 64
    """Tokens written after each prompt; 0 writes none."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is written while training."""

    every: int = 10
    """Optimizer steps between two lines of the console, metrics.jsonl and TensorBoard."""
    rows: bool = False
    """Write the number of every row that is read, in order, to rows.u64 in the run folder."""


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What keeps bad numbers from the weights, and a run from standing still."""

    bad_steps: int = 5
    """Steps in a row whose loss or gradients are not finite, or spike, after which the run stops.
    Each is tried twice and then left out."""
    spike: float = 0.0
    """Leave out a step whose loss lies this many standard deviations above the mean of the last
    ones, such as 6; 0 leaves out none."""
    spike_window: int = 128
    """Losses that a spike is measured against, in steps."""
    hang_after: Duration = field(default_factory=lambda: Duration(seconds=600))
    """End all ranks when one has shown no progress for this time: 10min, or never."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every training run has, whatever it trains on; an act adds its data."""

    act: ClassVar[str] = "train"
    """Name of the act, which runs and checkpoints carry."""
    output: Path
    """Folder of this run: checkpoints, logs and the resolved configs."""
    deepspeed_config: Path | None = None
    """DeepSpeed JSON; it owns ZeRO, offload and communication, nothing else. null takes the lowest
    ZeRO stage whose share of the model fits a GPU."""
    seed: int = 1
    """Seed of the initial weights, of the order of the rows and of dropout."""
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    log: LogConfig = field(default_factory=LogConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Pretrain a GPT-2 from scratch on packed shards."""

    act: ClassVar[str] = "pretrain"
    """Name of the act."""
    data: tuple[str, ...]
    """Folders of shards, as written by `python -m data_tools prepare`. Several are mixed, each with
    its weight: news/:0.5 poetry/:0.2 is five tokens of news for two of poetry; without weights each
    is read as often as the others."""
    verify_data: bool = True
    """Read all shards once before training and compare their sha256 with the manifest."""
    skip_rows: tuple[str, ...] = ()
    """Training rows that are read without loss: numbers (17), ranges (40-47), or the files that a
    run writes of steps with bad numbers (RUN/bad-steps/step-123.json)."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How this start differs from the next one; not part of the run's config."""

    resume: Path | None = None
    """Checkpoint to continue from; without it the newest complete one in output, if any."""
    stop_after: Duration = field(default_factory=Duration)
    """Save and leave after this much work in this start: 500steps, 8h or never."""
    allow_change: tuple[str, ...] = ()
    """Continue a checkpoint although these differ from it: data, tokenizer, seed, global_batch,
    model.dropout, model.activation; the rest must be equal."""
    dry_run: bool = False
    """Check config, JSON, shards, tokenizer and disk, print the plan, train nothing."""
