"""Build and compile the engine of a plan, and try one micro-batch before the first step.

The trial computes gradients and discards them, without collectives. So each rank finds by itself
that memory is short or a compiler is missing, all ranks agree on what to do (a smaller micro-batch,
no compilation), and no rank waits for one that has failed. An error in the middle of a step would
leave the others in a collective for ever. At ZeRO 3 even the forward pass is collective, so there
the trial only allocates the memory that the estimate gives.
"""

from __future__ import annotations

import dataclasses
import gc
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gpt2zh.checkpoint import checkpoint, master_weights
from gpt2zh.checkpoint.tensor_reader import require_fitting
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
    """Build the engine with new weights or those of a checkpoint; all ranks call it.

    A micro-batch that does not fit is halved until it fits or is one row; the global batch stays.
    A model that cannot be compiled runs eagerly, unless `train.compile` is always.

    Returns:
        The engine, the progress of the checkpoint, and the plan with the micro-batch that fits.

    Raises:
        UserError: `train.compile` is always, but the model cannot be compiled.
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
            f"a micro-batch of {plan.micro_batch} rows does not fit ({failure.text}); now using "
            f"{smaller.micro_batch} rows and {smaller.accumulation} micro-batches per step on each "
            "rank; the global batch stays the same",
        )
        plan = smaller
        engine.destroy()
        del engine
        torch._dynamo.reset()  # graphs of the old shape count towards its limit
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def agree_on_plan(plan: RunPlan, control: ControlGroup) -> RunPlan:
    """Return the plan of the rank with the least memory, for all ranks; all ranks call it.

    That is the plan with the latest of the project's DeepSpeed JSONs, then with the fewest rows. If
    the user gave a JSON, that of rank 0 is used.
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
            f"rank {needs.index((place, rows))} has less memory than others, so all ranks use what "
            f"fits there: ZeRO {common.zero_stage}, {common.micro_batch} rows per micro-batch and "
            f"{common.accumulation} micro-batches per step on each rank",
        )
    return common


def _build(plan: RunPlan) -> tuple[Any, TrainState]:
    config, resume_from = plan.config, plan.resume_from
    start_id = plan.data.document_start_id
    model = new_model(config.model, plan.data.tokenizer, seed=config.seed, document_start=start_id)
    if resume_from is not None:
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        require_fitting(resume_from, shapes, optimizer=config.optimizer.kind)
        checkpoint.load_weights(model, resume_from)
    if config.train.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = build_optimizer(model, config.optimizer)
    apart = start_id if config.train.document_mask else None
    engine = build_engine(SummedLoss(model, document_start=apart), optimizer, plan.resolved)
    master_weights.materialize_moments(engine)
    if resume_from is None:
        return engine, TrainState()
    return engine, checkpoint.load_training(engine, resume_from)


def _go_without_compiler(engine: Any, plan: RunPlan, failure: TrialFailure) -> None:
    if plan.config.train.compile == "always":
        raise UserError(
            f"train.compile is always, but the model cannot be compiled here: {failure.text}; "
            "with auto the run continues without compilation"
        )
    warn(
        plan.world,
        f"the model runs without compilation, which is slower: {failure.text}. Often a C compiler "
        "is missing (apt install gcc python3-dev); set --train.compile=never to silence this",
    )
    run_eagerly(engine)


def _try_on_all_ranks(
    engine: Any, plan: RunPlan, state: TrainState, control: ControlGroup, watch: Watch
) -> TrialFailure | None:
    """Try a micro-batch on all ranks; return the worst failure of any rank."""
    compiled = is_compiled(engine)
    watch.mark("compiling the model" if compiled else "trying a micro-batch")
    if compiled:
        say(plan.world, "compiling the model, which takes a minute or two")
    found = None
    try:
        if plan.zero_stage == 3 and plan.world.size > 1:
            _allocate_estimate(engine, plan)
        else:  # the last length of a length warm-up may need more memory than the first
            for length in {plan.length_at(state.step + 1), plan.config.model.context}:
                _try_micro_batch(engine, plan, length=length)
    except Exception as error:
        found = _explain_failure(error, plan.world.rank, compiled=compiled)
    # The exception has been released by now, and with it the tensors in its frames.
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
    """Run a forward and a backward pass as in a step, and discard the result.

    Only the gradient of the position embedding is computed. It comes at the end of the backward
    pass, so all activations are held as in a step, while no gradient reaches DeepSpeed. An empty
    tensor stands for the memory of the gradients and their copies.

    Args:
        engine: The engine that will train.
        plan: What this run does.
        length: Tokens of a sequence; the rows are cut into sequences of this length.
    """
    engine.train()
    device = engine.device
    ids = torch.arange(plan.micro_batch * plan.config.model.context, device=device)
    ids = (ids % plan.vocabulary).view(-1, length)
    phases = _estimate_memory(engine, plan)
    later = max(phase.gradients + phase.buckets for phase in phases.values())
    later -= phases["rest"].gradients + phases["rest"].buckets
    gradients = torch.empty(later, dtype=torch.uint8, device=device)
    loss = engine.module(ids, ids.clone())  # the same tensor twice would give another graph
    torch.autograd.grad(loss, [unwrap_model(engine).transformer.wpe.weight])
    del gradients
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # errors of kernels show here


def _allocate_estimate(engine: Any, plan: RunPlan) -> None:
    """Allocate and free the memory that a micro-batch needs by estimate.

    At ZeRO 3 every forward pass gathers weights from all ranks: if one rank ran out of memory, the
    others would wait for it.
    """
    phases = _estimate_memory(engine, plan).values()
    needed = max(phase.activations + phase.logits for phase in phases)
    torch.empty(needed, dtype=torch.uint8, device=engine.device)


def _estimate_memory(engine: Any, plan: RunPlan) -> dict[str, Memory]:
    """Estimate the memory at rest and in each part of a step, for the engine as it is now."""
    compiled: Literal["always", "never"] = "always" if is_compiled(engine) else "never"
    setting = dataclasses.replace(_setting(plan, engine.device), compile=compiled)
    return training_phases(
        plan.config.model, plan.vocabulary, setting, micro_batch=plan.micro_batch
    )


def _setting(plan: RunPlan, device: torch.device) -> Setting:
    on_gpu = device.type == "cuda"
    return setting_of(plan.config, plan.resolved, ranks=plan.world.size, on_gpu=on_gpu)
