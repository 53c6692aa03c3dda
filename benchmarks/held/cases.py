"""The settings that are measured. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import ModelConfig, OptimizerConfig, TrainConfig
from gpt2zh.cost.setting import Setting

SMALL = ModelConfig()
MEDIUM = ModelConfig(layers=24, heads=16, width=1024)
TINY = ModelConfig(layers=2, heads=2, width=64, context=32)


@dataclass(frozen=True)
class Case:
    """A model, and how it is trained."""

    name: str
    model: ModelConfig
    zero: dict[str, Any]
    precision: str = "fp32"
    micro_batch: int = 1
    accumulation: int = 1
    recompute: bool = False
    compiled: bool = False
    document_mask: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    sums: str = "auto"
    """The JSON's `data_types.grad_accum_dtype`."""

    def resolved(self, ranks: int) -> dict[str, Any]:
        """As a run resolves its DeepSpeed JSON."""
        train = TrainConfig(
            micro_batch=self.micro_batch,
            global_batch=self.micro_batch * self.accumulation * ranks,
            precision=self.precision,
        )
        raw = {
            "zero_optimization": self.zero,
            "data_types": {"grad_accum_dtype": self.sums},
            "fp16": {"initial_scale_power": 4},  # so that no first step overflows
        }
        return resolve(raw, train, OptimizerConfig(kind=self.optimizer), ranks)

    def setting(self, ranks: int, *, on_gpu: bool) -> Setting:
        """What decides about its memory."""
        return Setting(
            resolved=self.resolved(ranks),
            ranks=ranks,
            recompute=self.recompute,
            compile="always" if self.compiled else "never",
            on_gpu=on_gpu,
            optimizer=self.optimizer,
            document_mask=self.document_mask,
        )


def cases(*, small: bool) -> Iterator[Case]:
    """The settings: GPT-2 small and medium on a GPU, or a toy on a CPU."""
    if small:
        yield from _tiny()
        return
    zero = {stage: profile(stage)["zero_optimization"] for stage in range(4)}
    usual = Case("stage 1, bf16, compiled", SMALL, zero[1], "bf16", 32, 2, compiled=True)
    eager = replace(usual, compiled=False)
    yield usual
    yield replace(usual, name="stage 1, bf16, compiled, 128 rows", micro_batch=128)
    yield replace(eager, name="stage 1, bf16, eager")
    yield replace(eager, name="stage 1, bf16, eager, 1 row", micro_batch=1)
    yield replace(eager, name="stage 1, fp16, eager", precision="fp16")
    yield replace(eager, name="stage 1, fp32, eager", precision="fp32")
    yield replace(eager, name="stage 1, bf16, eager, recompute", recompute=True, micro_batch=128)
    yield replace(usual, name="stage 1, bf16, compiled, recompute", recompute=True, micro_batch=128)
    yield replace(usual, name="stage 1, bf16, compiled, masked", document_mask=True)
    yield replace(usual, name="stage 1, bf16, compiled, Muon", optimizer="muon")
    chain = replace(SMALL, activation="gelu_new")
    yield replace(eager, name="stage 1, bf16, eager, gelu_new", model=chain)
    yield replace(eager, name="stage 1, bf16, eager, dropout", model=replace(SMALL, dropout=0.1))
    for stage in (0, 2, 3):
        yield replace(eager, name=f"stage {stage}, bf16, eager", zero=zero[stage])
    for stage in (2, 3):
        away = profile(stage, offload=True)["zero_optimization"]
        yield replace(eager, name=f"stage {stage}, bf16, eager, offload", zero=away)
    yield replace(usual, name="medium, stage 1, bf16, compiled", model=MEDIUM, micro_batch=16)
    yield replace(eager, name="medium, stage 2, bf16, eager", model=MEDIUM, zero=zero[2])


def _tiny() -> Iterator[Case]:
    zero = {"stage": 1, "reduce_bucket_size": 100_000}
    yield Case("tiny, stage 1, bf16", TINY, zero, "bf16", 8, 2)
    yield Case(
        "tiny, stage 2, fp32, recompute", TINY, zero | {"stage": 2}, "fp32", 16, recompute=True
    )
