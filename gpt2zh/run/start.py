"""From a plan to an engine that is known to fit: built, compiled, and tried on one micro-batch.

The trial computes gradients that nobody keeps, before any step is counted and without the other
ranks (at ZeRO 3, where that cannot be, it only takes the memory that it would need). So memory that
does not suffice and a compiler that is missing are found on each rank by itself, all ranks agree on
what to do, and no collective waits for a rank that has failed.
"""

from __future__ import annotations

import dataclasses
import gc
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gpt2zh.checkpoint import checkpoint, master_weights
from gpt2zh.config import profiles
from gpt2zh.config.errors import UserError
from gpt2zh.cost.memory import Memory, training_phases
from gpt2zh.cost.setting import Setting
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.plan.setup import setting_of
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.logs import say, warn
from gpt2zh.ranks.watch import Watch
from gpt2zh.run.failures import follow, is_out_of_memory
from gpt2zh.train.engine import build_engine, compile_model, is_compiled, run_eagerly, unwrap_model
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.state import TrainState


@dataclass(frozen=True)
class TrialFailure:
    """Why a trial failed on a rank."""

    kind: Literal["memory", "compile"]
    text: str


def start(
    plan: RunPlan, device: torch.device, control: ControlGroup, watch: Watch
) -> tuple[Any, TrainState, RunPlan]:
    """Build the engine around fresh weights or a checkpoint's; all ranks call it.

    A micro-batch that does not fit is halved, with the global batch as it is, until it fits or is
    one row. A model that cannot be compiled runs eagerly, unless it must be.

    Returns:
        The engine, how far the checkpoint has come, and the plan with the micro-batch that fits.

    Raises:
        UserError: `train.compile` is always, and it cannot.
        torch.OutOfMemoryError: Not even one row fits.
    """
    plan = agree_on_plan(plan, control)
    compiles = _setting(plan, device).is_compiled
    while True:
        follow(plan)
        watch.mark("loading")
        engine, state = _build(plan)
        if compiles:
            compile_model(engine)
        failure = _try_on_all_ranks(engine, plan, state, control, watch)
        if failure is not None and failure.kind == "compile":
            compiles = False
            _go_without_compiler(engine, plan, failure)
            failure = _try_on_all_ranks(engine, plan, state, control, watch)
        if failure is None:
            return engine, state, plan
        smaller = plan.with_smaller_micro_batch()
        if smaller is None:
            raise torch.OutOfMemoryError(failure.text)
        warn(
            plan.world,
            f"a micro-batch of {plan.micro_batch} rows does not fit ({failure.text}); from now "
            f"on it is {smaller.micro_batch} rows, {smaller.accumulation} of them a step on each "
            "rank: the global batch stays",
        )
        plan = smaller
        engine.destroy()
        del engine
        torch._dynamo.reset()  # graphs of the old shape count against its limit
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def agree_on_plan(plan: RunPlan, control: ControlGroup) -> RunPlan:
    """The plan that the rank with the least memory has made; all ranks call it.

    That one took a later one of the project's DeepSpeed JSONs, or fewer rows. Of JSONs that the
    user gave, the one on rank 0 counts.
    """
    chosen = control.gather((plan.raw, plan.micro_batch))
    config, ranks = plan.config, plan.world.size
    raws = [chosen[0][0]]
    if config.deepspeed_config is None:
        raws = profiles.candidates(ranks)
    needs = [(raws.index(raw) if raw in raws else 0, -rows) for raw, rows in chosen]
    place, rows = max(needs)
    common = dataclasses.replace(plan, raw=raws[place]).with_micro_batch(-rows)
    if min(needs) < (place, rows):
        warn(
            plan.world,
            f"rank {needs.index((place, rows))} has less memory than others, so all of them take "
            f"what fits it: ZeRO {common.zero_stage} and a micro-batch of {common.micro_batch} "
            f"rows, {common.accumulation} of them a step on each rank",
        )
    return common


def _build(plan: RunPlan) -> tuple[Any, TrainState]:
    config, resume_from = plan.config, plan.resume_from
    model = new_model(config.model, plan.data.tokenizer, seed=config.seed)
    model.config.document_start_token_id = plan.data.document_start_id
    if resume_from is not None:
        checkpoint.load_weights(model, resume_from)
    if config.train.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = build_optimizer(model, config.optimizer)
    apart = plan.data.document_start_id if config.train.document_mask else None
    engine = build_engine(SummedLoss(model, document_start=apart), optimizer, plan.resolved)
    master_weights.materialize_moments(engine)
    if resume_from is None:
        return engine, TrainState()
    return engine, checkpoint.load_training(engine, resume_from)


def _go_without_compiler(engine: Any, plan: RunPlan, failure: TrialFailure) -> None:
    if plan.config.train.compile == "always":
        raise UserError(
            f"train.compile is always, but the model cannot be compiled here: {failure.text}; "
            "auto goes on without"
        )
    warn(
        plan.world,
        f"the model is not compiled, which makes it slower: {failure.text}. Often a C compiler is "
        "missing (apt install gcc python3-dev); --train.compile never leaves it out silently",
    )
    run_eagerly(engine)


def _try_on_all_ranks(
    engine: Any, plan: RunPlan, state: TrainState, control: ControlGroup, watch: Watch
) -> TrialFailure | None:
    """Try a micro-batch on all ranks; the worst that any of them has met."""
    compiled = is_compiled(engine)
    watch.mark("compiling the model" if compiled else "trying a micro-batch")
    if compiled:
        say(plan.world, "compiling the model, which takes a minute or two")
    found = None
    try:
        if plan.zero_stage == 3 and plan.world.size > 1:
            _hold_as_much(engine, plan)
        else:  # what a length warm-up ends with may need more than its first steps
            for length in {plan.length_at(state.step + 1), plan.config.model.context}:
                _try_micro_batch(engine, plan, length=length)
    except Exception as error:
        found = _explain_failure(error, plan.world.rank, compiled=compiled)
    # The exception is gone by now, and with it the tensors that its frames held.
    everywhere = [failure for failure in control.gather(found) if failure is not None]
    return min(everywhere, key=lambda failure: failure.kind, default=None)  # compile first


def _explain_failure(error: Exception, rank: int, *, compiled: bool) -> TrialFailure:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if is_out_of_memory(error):
        return TrialFailure("memory", f"rank {rank}: {text}")
    if compiled:
        return TrialFailure("compile", f"{type(error).__name__}: {text}")
    raise error


def _try_micro_batch(engine: Any, plan: RunPlan, *, length: int) -> None:
    """Go through a forward and a backward pass as a step does, but keep nothing of it.

    Only the gradient of the positions is asked for: it lies at the end of the backward pass, so
    all activations are held as in a step, while no gradient reaches DeepSpeed. The memory that
    gradients and their copies will take is held meanwhile by an empty tensor.

    Args:
        engine: As it will train.
        plan: What is trained.
        length: Tokens of a sequence; the rows are cut into such.
    """
    engine.train()
    device = engine.device
    ids = torch.arange(plan.micro_batch * plan.config.model.context, device=device)
    ids = (ids % plan.vocabulary).view(-1, length)
    phases = _estimated(engine, plan)
    later = max(phase.gradients + phase.buckets for phase in phases.values())
    later -= phases["rest"].gradients + phases["rest"].buckets
    gradients = torch.empty(later, dtype=torch.uint8, device=device)
    loss = engine.module(ids, ids.clone())  # one tensor twice would be another graph
    torch.autograd.grad(loss, [unwrap_model(engine).transformer.wpe.weight])
    del gradients
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # errors of kernels show here


def _hold_as_much(engine: Any, plan: RunPlan) -> None:
    """Take the memory that a micro-batch needs by estimate, and give it back.

    At ZeRO 3 the ranks gather each other's weights in every forward pass: one that ran out of
    memory would leave the others waiting for it.
    """
    phases = _estimated(engine, plan).values()
    needed = max(phase.activations + phase.logits for phase in phases)
    torch.empty(needed, dtype=torch.uint8, device=engine.device)


def _estimated(engine: Any, plan: RunPlan) -> dict[str, Memory]:
    """The memory at rest and in each part of a step, of an engine as it is now: compiled or not."""
    compiled: Literal["always", "never"] = "always" if is_compiled(engine) else "never"
    setting = dataclasses.replace(_setting(plan, engine.device), compile=compiled)
    return training_phases(
        plan.config.model, plan.vocabulary, setting, micro_batch=plan.micro_batch
    )


def _setting(plan: RunPlan, device: torch.device) -> Setting:
    on_gpu = device.type == "cuda"
    return setting_of(plan.config, plan.resolved, ranks=plan.world.size, on_gpu=on_gpu)
