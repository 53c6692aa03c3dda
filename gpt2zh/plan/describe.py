"""What a plan tells before the run: sizes, steps and costs, and what is worth a second thought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt2zh.config.stages import Stages
from gpt2zh.cost.memory import Memory, training_memory
from gpt2zh.plan.fit import setting_of
from gpt2zh.plan.resume import changed_settings
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.logs import say, warn

GIB = 2**30
MANY_EPOCHS = 4
"""Up to so many passes, reading text again teaches about as much as new text (arXiv 2305.16264)."""


def announce(plan: RunPlan) -> None:
    """Print the plan and what is worth knowing before the wait."""
    say(plan.world, describe(plan))
    if changed := changed_settings(plan):
        say(plan.world, f"changed     since {plan.resume_from}: {', '.join(changed)}")
    if plan.data.skipped_rows:
        say(plan.world, f"skipped     {plan.data.skipped_rows:,} rows are read without loss")
    half = plan.config.train.precision
    if half != "fp32" and plan.zero_stage == 0 and plan.accumulation > 1:
        warn(
            plan.world,
            f"ZeRO 0 adds up the gradients of {plan.accumulation} micro-batches in {half}, which "
            "loses the small ones; stage 1 adds them in fp32: "
            "--deepspeed_config ds_configs/zero1.json",
        )
    if not plan.data.held_out:
        warn(
            plan.world,
            "the data has no validation rows, so nothing is validated; "
            "prepare with a larger --validation-fraction",
        )
    warmup = plan.config.train.sequence_length_warmup
    if warmup and warmup.steps >= plan.steps:
        warn(
            plan.world,
            f"train.sequence_length_warmup lasts {warmup.steps:,} steps but the run only "
            f"{plan.steps:,}: it never reaches the full context of {plan.config.model.context}; "
            "shorten it",
        )
    if len(plan.epochs_at_end) == 1:
        return  # its passes are what train.epochs or train.steps ask for
    for name, epochs in plan.epochs_at_end.items():
        if epochs > MANY_EPOCHS:
            warn(
                plan.world,
                f"{name} will be read {epochs:.1f} times; beyond {MANY_EPOCHS} repeated "
                "text teaches ever less: lower its weight, train fewer steps or add to its text",
            )


def describe(plan: RunPlan) -> str:
    """The plan for a reader: sizes, steps and costs."""
    config, world = plan.config, plan.world
    model, train = config.model, config.train
    zero = plan.zero_stage
    held_out = sum(part.rows for part in plan.data.held_out)
    start = f"continues from {plan.resume_from}" if plan.resume_from else "starts from scratch"
    return "\n".join(
        (
            f"run         {config.output}: {start}",
            f"model       GPT-2, {model.layers} layers x {model.width}, context {model.context}, "
            f"vocabulary {plan.vocabulary:,} ({plan.data.tokenizer.vocab_size:,} used): "
            f"{plan.parameters / 1e6:,.2f} M parameters, "
            f"{plan.flops_per_token / 1e9:.4f} GFLOPs per token",
            f"data        {plan.data.rows:,} training rows "
            f"({plan.data.rows * model.context:,} tokens), {held_out:,} validation rows",
            *_describe_corpora(plan),
            f"batch       {train.global_batch} rows = {plan.tokens_per_step:,} tokens per step "
            f"({world.size} ranks x {train.micro_batch} rows x {plan.accumulation} accumulated)",
            f"steps       {plan.steps:,} "
            f"({plan.data.rows / train.global_batch:,.1f} steps per epoch)",
            *_describe_lengths(train.sequence_length_warmup, model.context),
            f"engine      ZeRO {zero}, {train.precision}, {config.optimizer.kind}",
            f"memory      {memory_line(plan)}",
        )
    )


def memory_line(plan: RunPlan) -> str:
    """What a rank needs by estimate, part by part in GiB, in words.

    It is that of a GPU, without what CUDA takes; a CPU needs about as much.
    """
    memory = memory_of(plan, plan.resolved)
    parts = ("parameters", "gradients", "optimizer", "activations", "logits", "buckets")
    sizes = [f"{part} {size:.2f}" for part in parts if (size := getattr(memory, part) / GIB) > 0]
    away = f", and {memory.host / GIB:.2f} GiB of the host's" if memory.host else ""
    return (
        f"about {(memory.total - memory.context) / GIB:.2f} GiB a rank: {', '.join(sizes)}{away}; "
        f"a GPU needs about {memory.context / GIB:.1f} more for CUDA"
    )


def memory_of(plan: RunPlan, resolved: Mapping[str, Any]) -> Memory:
    """What a rank needs by estimate, on a GPU.

    Args:
        plan: What is trained.
        resolved: The dict for DeepSpeed, the plan's or another one.
    """
    setting = setting_of(plan.config, resolved, ranks=plan.world.size, on_gpu=True)
    return training_memory(
        plan.config.model, plan.vocabulary, setting, micro_batch=plan.micro_batch
    )


def _describe_corpora(plan: RunPlan) -> list[str]:
    """Return weight, size and passes of each corpus, one line each."""
    return [
        f"            {line}, read {epochs:.2f} times by the end"
        for line, epochs in zip(plan.data.describe(), plan.epochs_at_end.values(), strict=False)
    ]


def _describe_lengths(stages: Stages, context: int) -> list[str]:
    """How long sequences are in the first steps, in one line; none if as long as ever."""
    text, begin = [], 1
    for value, steps in stages.stages:
        text.append(f"{value} tokens in steps {begin:,} to {begin + steps - 1:,}")
        begin += steps
    return [f"lengths     {', '.join(text)}, then {context}"] if stages else []
