"""The options of a training run: names, defaults, units and help texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from gpt2zh.config.duration import Duration
from gpt2zh.config.paths import IS_PATH
from gpt2zh.config.stages import Stages


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of the GPT-2."""

    layers: int = 12
    """Number of transformer blocks."""
    heads: int = 12
    """Attention heads per block; must divide the width."""
    width: int = 768
    """Hidden size."""
    context: int = 512
    """Maximum sequence length in tokens. Shards with full packing are read in rows of this length,
    whatever row length they were prepared with."""
    dropout: float = 0.0
    """Dropout probability of embeddings, attention and residuals; training for one epoch needs
    none."""
    activation: Literal["gelu_pytorch_tanh", "gelu_new"] = "gelu_pytorch_tanh"
    """GPT-2's GELU: gelu_pytorch_tanh is one fused kernel, gelu_new the original operations."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length of the training, batch sizes and precision."""

    epochs: float = 1.0
    """Passes over the training rows of all corpora together; with several corpora, their weights
    decide how often each one is read. Ignored when steps is set."""
    steps: int | None = None
    """Optimizer steps; null computes them from epochs."""
    global_batch: int = 160
    """Rows per optimizer step over all ranks; it does not depend on the number of ranks."""
    micro_batch: int | Literal["auto"] = 8
    """Rows per rank and forward pass; gradient accumulation follows from it and global_batch. auto
    uses the largest that is estimated to fit into memory. If it does not fit, it is halved before
    the first step; global_batch stays the same."""
    sequence_length_warmup: Stages = field(default_factory=Stages)
    """Shorter sequences in the first steps: 128:1000steps,256:500steps, then the full context.
    Write none to use the full context in all steps. The rows and tokens of a step stay the same:
    each row is cut into sequences of that length, which must divide the context."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the forward and backward pass; the optimizer always keeps fp32 weights."""
    activation_checkpointing: bool = False
    """Recompute the blocks in the backward pass: less memory, about a quarter slower."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Use torch.compile. With auto, a GPU compiles unless ZeRO 3 is used, and if compiling fails,
    the run continues without it. With always, the run ends if compiling fails."""
    deterministic: bool = False
    """Use deterministic algorithms on a GPU, so that a resumed run is exact to the bit; this is
    slower. On a CPU a resumed run is always exact."""
    document_mask: bool = False
    """Let tokens attend only within their own document, with positions from 0. Otherwise the
    documents of a row attend to each other."""

    @property
    def rows_at_once(self) -> int:
        """`micro_batch` as a number; a plan has replaced auto."""
        assert self.micro_batch != "auto"
        return self.micro_batch


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW or Muon, and the learning rate."""

    kind: Literal["adamw", "muon"] = "adamw"
    """adamw; or muon, which uses Muon for the matrices of the blocks and AdamW for the rest. Muon
    learns more per step, and its steps are a little slower. Start with AdamW's learning rate; muon
    tolerates a larger one."""
    lr: float = 6e-4
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up; wsd (warmup-stable-decay) stays at the peak, then
    decays linearly."""
    warmup_steps: int = 100
    """Optimizer steps of linear warm-up from 0."""
    final_lr_fraction: float = 0.1
    """Learning rate of the last step as a fraction of the peak."""
    decay_fraction: float = 0.2
    """Fraction of all steps in which wsd decays."""
    beta1: float = 0.9
    """AdamW's decay rate of the mean of gradients."""
    beta2: float = 0.95
    """AdamW's decay rate of the mean of squared gradients."""
    eps: float = 1e-8
    """AdamW's epsilon, which prevents division by zero."""
    momentum: float = 0.95
    """Muon's momentum: the decay rate of the mean of gradients."""
    weight_decay: float = 0.1
    """Weight decay of matrices and embeddings; biases and layer norms have none."""
    max_grad_norm: float = 1.0
    """Maximum global gradient norm for clipping; 0 disables clipping."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save checkpoints, and which to keep."""

    every: Duration = field(default_factory=lambda: Duration(steps=1000, seconds=600))
    """How often to save: 500steps, 10min, both (500steps,10min) or never. The run also saves at its
    end and when it is stopped."""
    keep_last: int = 3
    """Number of newest checkpoints to keep; at least 2, since a disk may damage one."""
    keep_best: bool = False
    """Save a checkpoint when a validation finds a lower loss, and keep the one with the lowest."""
    keep_every: int = 0
    """Never delete checkpoints at multiples of this many steps; 0 keeps only the newest."""
    async_save: bool = True
    """Continue training while a copy in host memory is written; false waits until it is on the
    disk."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """When and how to validate on held-out text."""

    every: Duration = field(default_factory=lambda: Duration(steps=1000))
    """How often to validate: 1000steps, 30min, both or never. The run also validates at its end."""
    rows: int = 512
    """Rows of the validation split to use, evenly spread over it; with several corpora, in
    proportion to their sizes. 0 uses all."""
    patience: int = 0
    """Stop after this many validations in a row without a lower loss; 0 never stops early."""
    prompts: tuple[str, ...] = ("从前有座山", "今天天气")
    """Prompts that the model continues at each validation."""
    sample_tokens: int = 64
    """Tokens to generate after each prompt; 0 generates none."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What to log while training."""

    every: int = 10
    """Optimizer steps between log lines on the console, in metrics.jsonl and in TensorBoard."""
    rows: bool = False
    """Write the number of every row that is read, in order, to rows.u64 in the run folder."""


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """How to react to bad numbers, loss spikes and hangs."""

    bad_steps: int = 5
    """Stop after this many bad steps in a row: steps with a spike, or with a loss or gradients that
    are not finite (inf or nan). Each is tried twice and then skipped."""
    spike: float = 0.0
    """Skip a step whose loss is this many standard deviations above the mean of recent losses, such
    as 6; 0 skips none."""
    spike_window: int = 128
    """Number of recent losses, one a step, that a spike is compared with."""
    hang_after: Duration = field(default_factory=lambda: Duration(seconds=600))
    """End all ranks when none makes progress for this time, and say which one hangs: 10min, or
    never."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Options of every training run; an act adds the options of its data."""

    act: ClassVar[str] = "train"
    """Name of the act, which is saved in runs and checkpoints."""
    output: Path
    """Folder of this run, for checkpoints, logs and the resolved configs."""
    deepspeed_config: Path | None = None
    """DeepSpeed JSON file. It sets ZeRO, offload and communication; all other settings belong to
    this config. null uses the first of these that is estimated to fit a GPU: ZeRO 1, 2, 3,
    then 2 and 3 with offload."""
    seed: int = 1
    """Random seed of initial weights, row order and dropout."""
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
    data: tuple[str, ...] = field(metadata={"first": True} | IS_PATH)  # in the help
    """Folders of shards, made by `python -m data_tools prepare`. Several are mixed by weight:
    news/:0.5 poetry/:0.2 means five tokens of news for two of poetry; without weights each is read
    equally often."""
    verify_data: bool = True
    """Read all shards before training and compare their sha256 with the manifest."""
    skip_rows: tuple[str, ...] = field(default=(), metadata=IS_PATH)
    """Training rows to exclude from the loss: numbers (17), ranges (40-47), or files that a run
    writes about bad steps (RUN/bad-steps/step-123.json)."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """Options of one start of a run; not saved in the run's config."""

    resume: Path | None = None
    """Checkpoint to continue from; by default the newest complete one in output, if any. The same
    command given again, as by a scheduler, continues from what it has saved since."""
    stop_after: Duration = field(default_factory=Duration)
    """Save and exit after this much training in this start: 500steps, 8h or never."""
    allow_change: tuple[str, ...] = ()
    """Settings that may differ from the checkpoint: data, tokenizer, seed, global_batch,
    model.dropout, model.activation. All others must be equal."""
    dry_run: bool = False
    """Check config, JSON, shards, tokenizer and disk, print the plan and exit without training."""
