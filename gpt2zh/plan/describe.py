"""What a plan prints before the run: sizes, steps, memory, and what is worth a second thought."""

from __future__ import annotations

from gpt2zh.config.deepspeed_names import find_unused
from gpt2zh.config.stages import Stages
from gpt2zh.pages.numbers import duration, plural
from gpt2zh.plan.advise import LONG, TINY
from gpt2zh.plan.machine import Machine
from gpt2zh.plan.resume import find_changed_settings
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.plan.setup import Setup
from gpt2zh.ranks.logs import say, warn

GIB = 2**30
MANY_EPOCHS = 4
"""Up to so many passes, repeated text teaches about as much as new text (arXiv 2305.16264)."""


def announce(plan: RunPlan) -> None:
    """Print the plan, and warn of what would waste the run."""
    say(plan.world, describe(plan))
    if changed := find_changed_settings(plan):
        say(plan.world, f"changed     since {plan.resume_from}: {', '.join(changed)}")
    if plan.data.skipped_rows:
        say(plan.world, f"skipped     {plural(plan.data.skipped_rows, 'row')} read without loss")
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
            "prepare it with a larger --validation-fraction",
        )
    warmup = plan.config.train.sequence_length_warmup
    if warmup and warmup.steps >= plan.steps:
        warn(
            plan.world,
            f"train.sequence_length_warmup lasts {plural(warmup.steps, 'step')} but the run only "
            f"{plan.steps:,}: it never reaches the full context of {plan.config.model.context}; "
            "use a shorter warm-up",
        )
    if len(plan.epochs_at_end) == 1:
        return  # its passes are what train.epochs or train.steps ask for
    for name, epochs in plan.epochs_at_end.items():
        if epochs > MANY_EPOCHS:
            warn(
                plan.world,
                f"{name} will be read {epochs:.1f} times; after {MANY_EPOCHS} times repeated text "
                "teaches less and less: lower its weight, train fewer steps or add text to it",
            )


def warn_of_slow_cpu(plan: RunPlan, machine: Machine) -> None:
    """Warn of a run that would take very long because this machine has no GPU.

    Args:
        plan: Of a run on machines like this one.
        machine: This one.
    """
    if machine.gpus:
        return
    tokens = max(0, plan.steps - plan.done[0]) * plan.setup.tokens_per_step
    machines = max(1, plan.world.size // plan.world.local_size)
    seconds = tokens * plan.flops_per_token / (machine.cpu_flops * machines)
    if seconds > LONG:
        warn(
            plan.world,
            f"no GPU was found, and {plural(machine.cores, 'CPU core')} would need about "
            f"{duration(seconds)} for this run, by estimate; to try things out on a CPU use "
            f"--config {TINY.file} or configs/demo.yaml, and fewer --train.steps",
        )


def describe(plan: RunPlan) -> str:
    """Return the plan of a run as text: folder, model, data, batch, steps and memory."""
    config, setup = plan.config, plan.setup
    context = config.model.context
    held_out = sum(part.rows for part in plan.data.held_out)
    start = f"continues from {plan.resume_from}" if plan.resume_from else "starts from scratch"
    return "\n".join(
        (
            f"run         {config.output}: {start}",
            _describe_model(setup),
            f"data        {plural(plan.data.rows, 'training row')} "
            f"({plural(plan.data.rows * context, 'token')}), {plural(held_out, 'validation row')}",
            *_describe_corpora(plan),
            _describe_batch(setup),
            f"steps       {plan.steps:,} "
            f"({plan.data.rows / config.train.global_batch:,.1f} steps per epoch)",
            *_describe_lengths(config.train.sequence_length_warmup, context),
            _describe_engine(setup),
            *_describe_unused(setup),
            f"memory      {describe_memory(setup)}",
        )
    )


def describe_setup(setup: Setup) -> str:
    """Return what is known without data as text: the same lines, without folder, data and steps."""
    return "\n".join(
        (
            _describe_model(setup),
            _describe_batch(setup),
            _describe_engine(setup),
            *_describe_unused(setup),
            f"memory      {describe_memory(setup)}",
        )
    )


def describe_memory(setup: Setup) -> str:
    """Return what a rank needs by estimate, part by part in GiB.

    It is that of a GPU, without what CUDA takes; a CPU needs about as much.
    """
    memory = setup.memory()
    parts = ("parameters", "gradients", "optimizer", "activations", "logits", "buckets")
    sizes = [f"{part} {size:.2f}" for part in parts if (size := getattr(memory, part) / GIB) > 0]
    host = f", and {memory.host / GIB:.2f} GiB of host memory" if memory.host else ""
    needed = (memory.total - memory.context) / GIB
    return (
        f"about {needed:.2f} GiB per rank: {', '.join(sizes)}{host}; "
        f"on a GPU CUDA takes about {memory.context / GIB:.1f} more"
    )


def _describe_model(setup: Setup) -> str:
    model = setup.config.model
    return (
        f"model       GPT-2, {model.layers} layers x {model.width}, context {model.context}, "
        f"vocabulary {setup.vocabulary:,} ({setup.tokens:,} used): "
        f"{setup.parameters / 1e6:,.2f} M parameters, "
        f"{setup.flops_per_token / 1e9:.4f} GFLOPs per token"
    )


def _describe_batch(setup: Setup) -> str:
    ranks = plural(setup.ranks, "rank")
    return (
        f"batch       {plural(setup.config.train.global_batch, 'row')} = "
        f"{plural(setup.tokens_per_step, 'token')} "
        f"per step ({ranks} x {plural(setup.micro_batch, 'row')} x {setup.accumulation} "
        f"accumulated)"
    )


def _describe_engine(setup: Setup) -> str:
    config = setup.config
    return (
        f"engine      ZeRO {setup.zero_stage}, {config.train.precision}, {config.optimizer.kind}"
        + (", activation checkpointing" if config.train.activation_checkpointing else "")
    )


def _describe_unused(setup: Setup) -> list[str]:
    """Return the keys of the JSON that have no effect, in one line; none if all have."""
    unused = ", ".join(find_unused(setup.raw))
    return [f"not used    of the DeepSpeed JSON: {unused}"] if unused else []


def _describe_corpora(plan: RunPlan) -> list[str]:
    """Return weight, size and passes of each corpus, one line each."""
    lines = plan.data.describe()
    if not lines:
        return []
    return [
        f"            {line}, read {epochs:.2f} times by the end"
        for line, epochs in zip(lines, plan.epochs_at_end.values(), strict=True)
    ]


def _describe_lengths(stages: Stages, context: int) -> list[str]:
    """Return the length of the sequences in the first steps, in one line; none without warm-up."""
    text, begin = [], 1
    for value, steps in stages.stages:
        text.append(f"{value} tokens in steps {begin:,} to {begin + steps - 1:,}")
        begin += steps
    return [f"lengths     {', '.join(text)}, then {context}"] if stages else []
