"""A dry run for more ranks than there are: `--dry-run --ranks 128` on any machine.

The plan is made as rank 0 of so many would make it, so what it refuses would be refused there. What
the ranks send each other is then counted, and their speed predicted by `cost.scaling`. Torch is
only imported to ask for the card of this machine, where no other one is named.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from gpt2zh.config import deepspeed
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import LaunchOptions
from gpt2zh.cost import memory, scaling
from gpt2zh.cost.cards import KNOWN, Card, card_named
from gpt2zh.cost.scaling import Cluster, Job, Step
from gpt2zh.plan.describe import memory_of
from gpt2zh.plan.fit import accepted, file_of, setting_of
from gpt2zh.plan.run_plan import Plan
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.world import World

RANKS_PER_MACHINE = 8
USUAL_CARD = "RTX 3090"
FASTER = 1.05
"""A stage is worth a hint when it makes so many times the tokens."""
IDLE = 0.5
"""Below this share of a lone card's speed, more work for each rank is worth a hint."""


def refuse_stray_options(options: LaunchOptions, world: World) -> None:
    """Refuse what --ranks cannot mean, and what means nothing without it.

    Raises:
        UserError: All that is wrong.
    """
    found = []
    if options.ranks is None:
        found += [
            f"--{name} {value} only tells --ranks what to reckon with; add --dry-run --ranks N"
            for name, value in (
                ("ranks-per-machine", options.ranks_per_machine),
                ("gpu", options.gpu),
            )
            if value is not None
        ]
    else:
        if not options.dry_run:
            found.append(
                f"--ranks {options.ranks} only belongs to --dry-run; as many ranks train as "
                "deepspeed, torchrun or srun starts"
            )
        if world.size > 1:
            found.append(
                f"--ranks {options.ranks} is checked by one process, but {world.size} were "
                "started; start it without a launcher: python launcher/pretrain.py"
            )
        found += [
            f"--{name} is {value}; it must be 1 or more"
            for name, value in (
                ("ranks", options.ranks),
                ("ranks-per-machine", options.ranks_per_machine),
            )
            if value is not None and value < 1
        ]
    raise_all(found, "the command line")


@dataclass(frozen=True)
class Rehearsal:
    """The ranks that a dry run pretends there are."""

    ranks: int
    ranks_per_machine: int
    named: Card | None
    """The card that `--gpu` names."""

    @functools.cached_property
    def card(self) -> Card:
        """The one that is named, else that of this machine, else the usual one.

        Of this machine's it counts what nobody else takes now, as for a run that starts here.
        """
        if self.named is not None:
            return self.named
        from gpt2zh.train.engine import device_here

        here = device_here(World())
        usual, mine = card_named(USUAL_CARD), card_named(here.name)
        assert usual is not None
        return usual if mine is None else dataclasses.replace(mine, memory=here.memory)

    @property
    def world(self) -> World:
        """The place of the rank that plans for all."""
        return World(0, self.ranks, 0, min(self.ranks, self.ranks_per_machine))

    def device(self) -> Device:
        """What each of them computes on."""
        return Device(self.card.name, self.card.memory, is_gpu=True)

    def check_precision(self, precision: str) -> None:
        """Refuse what the card cannot compute in.

        Raises:
            UserError: It is bf16, for which the card is too old.
        """
        if precision == "bf16" and not self.card.has_bf16:
            raise UserError(
                f"train.precision bf16: a {self.card.name} has no bf16; use fp16 or fp32"
            )

    def announce(self, plan: Plan) -> None:
        """Print what the ranks of a plan send each other, and how fast they are."""
        say(plan.world, self.describe(plan))

    def describe(self, plan: Plan) -> str:
        """The prediction for a reader."""
        jobs = _jobs(plan)
        clusters = self._clusters()
        steps = {
            stage: [scaling.predict(job, cluster) for cluster in clusters]
            for stage, job in jobs.items()
        }
        needed = {stage: memory_of(plan, job.setting.resolved).total for stage, job in jobs.items()}
        room = self.card.memory * (1 - memory.RESERVE)
        where = "in one machine"
        if clusters[0].machines > 1:
            each = f"{self.ranks_per_machine} (--ranks-per-machine)"
            where = f"on {clusters[0].machines} machines of {each}"
        lines = [
            f"scale       {self.ranks} x {self.card.name} (--gpu) {where}: predicted, not "
            "measured, see docs/scaling.md",
            f"            what a rank needs of its {self.card.memory / 2**30:.4g} GiB, sends in a "
            "step, and its speed as a share of a lone card's:",
            _row("  ZeRO", "memory", "sent", [_link(cluster) for cluster in clusters]),
        ]
        for stage, job in jobs.items():
            sent = job.traffic.sent(self.ranks)
            needs = f"{needed[stage] / 2**30:,.1f} GiB" + (" (no)" if needed[stage] > room else "")
            mark = "*" if stage == plan.zero_stage else " "
            shares = [f"{step.efficiency:.1%}" for step in steps[stage]]
            lines.append(_row(f"{mark} {stage}", needs, f"{sent / 1e9:,.3f} GB", shares))
        for cluster, step in zip(clusters, steps[plan.zero_stage], strict=True):
            speed = float(f"{step.tokens_per_second:.2g}")
            lines.append(
                f"            * {_link(cluster)}: {step.seconds:.2g} s a step, {speed:,.0f} "
                f"tokens/s, {_time(plan.steps * step.seconds)} for {plan.steps:,} steps"
            )
        fitting = {stage: steps[stage] for stage in steps if needed[stage] <= room}
        return "\n".join([*lines, *_hints(plan, clusters, steps[plan.zero_stage], fitting)])

    def _clusters(self) -> list[Cluster]:
        """One for each link; the link does not matter in one machine."""
        alone = self.ranks <= self.ranks_per_machine
        links = scaling.LINKS[-1:] if alone else scaling.LINKS
        return [Cluster(self.card, self.ranks, self.ranks_per_machine, link) for link in links]


def rehearse(options: LaunchOptions) -> Rehearsal:
    """Make the ranks that `--ranks` asks for.

    Raises:
        UserError: The card is not known.
    """
    assert options.ranks is not None
    named = None if options.gpu is None else card_named(options.gpu)
    if options.gpu is not None and named is None:
        raise UserError(f"--gpu {options.gpu} is not known; known are {', '.join(KNOWN)}")
    return Rehearsal(options.ranks, options.ranks_per_machine or RANKS_PER_MACHINE, named)


def _jobs(plan: Plan) -> dict[int, Job]:
    """The run at each ZeRO stage that it can have: by its own JSON, or one of the project's."""
    config, ranks = plan.config, plan.world.size
    raws = [plan.raw if stage == plan.zero_stage else profile(stage) for stage in range(4)]
    return {
        deepspeed.zero_stage(resolved): Job(
            config.model,
            plan.vocabulary,
            setting_of(config, resolved, ranks=ranks, on_gpu=True),
        )
        for _, resolved in accepted(raws, config.train, config.optimizer, ranks)
    }


def _hints(
    plan: Plan, clusters: list[Cluster], own: list[Step], fitting: dict[int, list[Step]]
) -> list[str]:
    """What would be faster, of the stages that fit, and what else to know."""
    accumulates = plan.config.train.precision != "fp32" and plan.accumulation > 1
    stages = [stage for stage in fitting if stage > 0 or not accumulates]  # 0 loses precision
    better: dict[int, list[str]] = {}
    for number, cluster in enumerate(clusters):
        speeds = {stage: fitting[stage][number].tokens_per_second for stage in stages}
        best = max(speeds, key=lambda stage: speeds[stage], default=plan.zero_stage)
        if speeds.get(best, 0.0) > FASTER * own[number].tokens_per_second:
            better.setdefault(best, []).append(_link(cluster))
    lines = [
        f"hint        ZeRO {stage} is faster ({', '.join(links)}): "
        f"--deepspeed_config {file_of(profile(stage))}"
        for stage, links in better.items()
    ]
    if plan.zero_stage not in fitting:
        fits = f"ZeRO {min(fitting)} fits" if fitting else "no stage fits"
        lines.append(
            f"hint        ZeRO {plan.zero_stage} needs more than the card has; {fits}, and a "
            "smaller train.micro_batch or train.activation_checkpointing needs less"
        )
    if deepspeed.is_offloaded(plan.resolved, "optimizer"):
        lines.append("hint        the speed is that of a run without offload to the host")
    if min(step.efficiency for step in own) < IDLE:
        lines.append(
            "hint        the more tokens a rank has in a step, the less it waits: start fewer "
            "ranks, or give a new run a larger train.global_batch"
        )
    return lines


def _row(stage: str, needs: str, sent: str, cells: Sequence[str]) -> str:
    return f"          {stage:<6}{needs:>16}{sent:>12}" + "".join(f"{cell:>13}" for cell in cells)


def _link(cluster: Cluster) -> str:
    return f"{cluster.gigabits:g} Gb/s" if cluster.machines > 1 else "one machine"


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.1f} minutes"
