"""What to expect of many GPUs, as the document that docs/scaling.md holds.

    python benchmarks/scaling_table.py > docs/scaling.md

It is arithmetic and needs no GPU; tests/benchmarks/test_scaling_table.py compares the two.
"""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from published import known, predicted, published, shares  # noqa: E402

from gpt2zh.config.batch import micro_batches  # noqa: E402
from gpt2zh.config.cli import parse  # noqa: E402
from gpt2zh.config.deepspeed import resolve  # noqa: E402
from gpt2zh.config.profiles import BUCKET, profile  # noqa: E402
from gpt2zh.config.schema import ModelConfig, PretrainConfig  # noqa: E402
from gpt2zh.cost import computing, scaling  # noqa: E402
from gpt2zh.cost.cards import Card  # noqa: E402
from gpt2zh.cost.gathers import Limits  # noqa: E402
from gpt2zh.cost.scaling import Cluster, Job, predict  # noqa: E402
from gpt2zh.cost.traffic import Transfer  # noqa: E402
from gpt2zh.model import shape  # noqa: E402
from gpt2zh.plan.fit import setting_of  # noqa: E402
from gpt2zh.text.tokenizer import load_tokenizer  # noqa: E402

MICRO_BATCH = {"gpt2-small": 32, "gpt2-large": 8}
"""Rows that a card of 24 GB holds by estimate, and that keep it busy."""
CARDS = ("RTX 3090", "H100")
GPUS = (1, 2, 4, 8, 32, 128, 256, 1024)
RANKS_PER_MACHINE = 8
STAGE = 1
"""The ZeRO stage of the large tables."""

PROFILE = {2: 1897.21, 4: 2133.24, 8: 2173.35, 16: 2275.43}
"""Milliseconds of the all-reduce in a step of BERT-Large by machines of four V100, 16 rows a GPU,
joined by Ethernet of 40 Gb/s: DeepSpeed's authors in arXiv 2102.02888, table 1."""
PROFILED = Transfer("all-reduce", 340_000_000, 2)
"""Its gradients in fp16."""


def main() -> None:
    """Print the document."""
    sys.stdout.write(document())


def document() -> str:
    """The document, in Markdown."""
    presets = [preset(model) for model in MICRO_BATCH]
    ((rows, context),) = {(c.train.global_batch, c.model.context) for c in presets}
    paragraphs = [
        "# Scaling: what to expect of many GPUs",
        "These are predictions: how much the ranks send is exact, how fast they are follows from "
        "the assumptions below. **Nothing here was measured on such clusters.** The same for your "
        "own run, on any machine:",
        "```bash\npython launcher/pretrain.py ... --dry-run --ranks 128 --gpu H100\n```",
        "This file is written by `python benchmarks/scaling_table.py > docs/scaling.md`. The model "
        "is `gpt2zh/cost/scaling.py`, what is sent `gpt2zh/cost/traffic.py`; a test compares the "
        "latter with the collectives of real ranks at every ZeRO stage.",
        "## What a rank sends",
        "\n".join(stages()),
        "P parameters in bf16, A micro-batches of a rank and step, W ranks. Gradients travel in "
        "bf16 also where they are summed up in fp32. DeepSpeed 0.19.8 merges the gradients for all "
        "ranks into one all-reduce at stages 1 and 2, so stage 1 sends more than stage 0. At stage "
        f"3 it keeps weights until their next use while they are no more than {Limits().live:,}: "
        "a model of fewer parameters is gathered once per micro-batch, not twice, and its weights "
        "are all there at once.",
        "## Assumptions",
        "\n".join(_wrapped(f"* {line}", "  ") for line in assumptions()),
        "## Tables",
        f"ZeRO {STAGE}, bf16, context {context}, machines of {RANKS_PER_MACHINE} GPUs, with "
        "network cards that together have the rate above a column. Percentages are the speed of a "
        f"GPU as a share of one that trains alone. A step has the preset's {rows} rows "
        f"({rows * context:,} tokens) while every rank has a whole micro-batch ("
        + " and ".join(f"{rows} rows of {model}" for model, rows in MICRO_BATCH.items())
        + "); beyond, the global batch grows with the ranks, and such a batch needs its learning "
        "rate tuned again. With the batch kept instead, ranks would have less to compute and wait "
        "more.",
    ]
    for model in MICRO_BATCH:
        for name in CARDS:
            paragraphs += [f"### {model}, {name}", "\n".join(table(model, known(name)))]
            if known(name).has_nvlink:
                paragraphs.append(with_every_card(model, known(name)))
    paragraphs += [
        "## How far to trust it",
        "What others measured on a card, tokens a second, and what the model here says of it:",
        "\n".join(published_table()),
        "So a compiled run was at "
        + " to ".join(percent(end) for end in (min(shares()), max(shares())))
        + " of what is predicted. The eager run in fp32 sets the share of eager ones; that with "
        "AMP had casts, dropout and a loss over whole logits besides. GeForce cards clock above "
        "their data sheets, hence one run above the best.",
        goal(),
        "One link's rate, fitted to sixteen machines of DeepSpeed's own profile of BERT-Large "
        "(arXiv 2102.02888, table 1, Ethernet), gives the all-reduce of fewer machines:",
        "\n".join(profile_table()),
        "In the same table, InfiniBand at two machines is 1.8 times as fast as at eight, which no "
        "fixed rate gives. `nccl-tests` on your cluster tells more than any of this: a bus "
        "bandwidth of 1 GB/s over several machines, as its `all_reduce_perf` shows it, is a link "
        f"of {8 / scaling.NETWORK:.1f} Gb/s here.",
    ]
    wrapped = [text if text[0] in "#|*`" else _wrapped(text) for text in paragraphs]
    return "\n\n".join(wrapped) + "\n"


def assumptions() -> Iterator[str]:
    """What the predictions rest on, with sources."""
    yield (
        f"A card takes for a token the time of its products at {percent(computing.PRODUCTS)} of "
        "its peak plus that of moving its activations through memory once, and is at "
        f"{percent(computing.COMPILED)} of the speed that this leaves, as others were (see the "
        f"end); without torch.compile, as at ZeRO 3, at {percent(computing.EAGER)}. In fp32 the "
        "peak is that without tensor cores, and twice as much is moved."
    )
    links = ", ".join(f"{known(name).link_rate / 1e9:g} GB/s for an {name}" for name in CARDS)
    yield (
        f"In a machine, NCCL passes on {links} (bus bandwidth of nccl-tests; PCIe between two "
        "sockets as NCCL reckons, NVLink as its authors tell)."
    )
    yield (
        f"Between machines it reaches {percent(scaling.NETWORK)} of the line rate, as RDMA does. "
        "TCP may reach far less: 12 % in the profile below."
    )
    yield (
        "Collectives run around one ring through all GPUs, so the slowest link decides. Hops take "
        "what NCCL's tuner assumes (src/graph/tuning.cc): 0.6 to 5.7 microseconds in a machine, "
        "2.7 to 14 between machines; the fastest of ring and tree counts."
    )
    yield (
        "At stages 0 and 1, gradients and weights travel after the last backward pass and nothing "
        "else goes on meanwhile. At stages 2 and 3, buckets of "
        f"{BUCKET:,} gradients travel beside the backward pass, all but the last; weights of stage "
        "3 are gathered beside the forward pass."
    )
    yield (
        "AdamW reads and writes 30 bytes a parameter that a rank updates, at the full rate of the "
        "card's memory."
    )
    yield (
        f"The exchange that ends each step goes around all ranks, {1e6 * scaling.HOST_HOP:g} "
        "microseconds a hop, while the GPUs wait."
    )
    yield (
        "Left out: others on the network, slow machines among fast ones, reading, saving, "
        "validation, offload, and the time of Python. Its hooks at every parameter can decide at "
        "stages 2 and 3: they made a run on eight A100 2.6 times slower than plain data "
        "parallelism (OpenTau, issue 177)."
    )


def stages() -> Iterator[str]:
    """What a rank sends at each stage, as a rule and in two cases."""
    rules = (
        ("all-reduce once a step", "none", "4 P"),
        ("all-reduce once a step", "all-gather once a step", "6 P"),
        ("all-reduce with every micro-batch", "all-gather once a step", "(4 A + 2) P"),
        ("reduce-scatter with every micro-batch", "all-gather with every micro-batch", "4 A P"),
    )
    cases = [job(model, STAGE, 8) for model in MICRO_BATCH]
    heads = [
        f"{model}, W = 8, A = {case.setting.accumulation}"
        for model, case in zip(MICRO_BATCH, cases, strict=True)
    ]
    yield from head(["ZeRO", "gradients", "weights", "bytes, x (W - 1) / W", *heads])
    for stage, rule in enumerate(rules):
        sent = [job(model, stage, 8).traffic.sent(8) for model in MICRO_BATCH]
        yield row([str(stage), *rule, *(f"{one / 1e9:.2f} GB" for one in sent)])


def table(model: str, card: Card) -> Iterator[str]:
    """The predictions for a model on a card."""
    links = [f"{link} Gb/s" for link in scaling.LINKS]
    yield from head(["GPUs", "tokens a step", "A", "sent, GB", *links, "tokens/s, 100 Gb/s"])
    for ranks in GPUS:
        case = job(model, STAGE, ranks)
        sent = case.traffic
        steps = {
            link: predict(case, Cluster(card, ranks, RANKS_PER_MACHINE, link))
            for link in scaling.LINKS
        }
        yield row(
            [
                f"{ranks:,}",
                f"{steps[100].tokens:,}",
                str(sent.micro_batches),
                f"{sent.sent(ranks) / 1e9:.2f}",
                *(percent(step.efficiency) for step in steps.values()),
                f"{rounded(steps[100].tokens_per_second):,}",
            ]
        )


def with_every_card(model: str, card: Card) -> str:
    """What the network of such a card's usual machine makes of it."""
    ranks, each = 128, 400
    links = each * RANKS_PER_MACHINE
    step = predict(job(model, STAGE, ranks), Cluster(card, ranks, RANKS_PER_MACHINE, links))
    return (
        f"With a network card of {each} Gb/s for every GPU ({links:,} together), {ranks} of them "
        f"have {percent(step.efficiency)}: {rounded(step.tokens_per_second):,} tokens/s."
    )


@cache
def vocabulary() -> int:
    """Rows of the embedding for the builtin tokenizer."""
    return shape.padded_vocabulary(load_tokenizer("builtin").vocab_size)


@cache
def preset(model: str) -> PretrainConfig:
    """A config that comes with the project."""
    flags = [f"--config={ROOT}/configs/{model}.yaml", "--data=shards", "--output=run"]
    (config,) = parse(PretrainConfig, argv=flags, prog="scaling_table")
    return config


def job(model: str, stage: int, ranks: int) -> Job:
    """A preset at a ZeRO stage, on so many ranks."""
    config = preset(model)
    train, rows = config.train, config.train.global_batch
    micro_batch = MICRO_BATCH[model]
    if rows < ranks * micro_batch:
        rows = ranks * micro_batch
    else:
        micro_batch = micro_batches(train, ranks, most=micro_batch)[-1]
    train = dataclasses.replace(train, global_batch=rows, micro_batch=micro_batch)
    config = dataclasses.replace(config, train=train)
    resolved = resolve(profile(stage), train, config.optimizer, ranks)
    setting = setting_of(config, resolved, ranks=ranks, on_gpu=True)
    return Job(config.model, vocabulary(), setting)


def published_table() -> Iterator[str]:
    """Measured by others and predicted here."""
    yield from head(["run", "card", "measured there", "predicted", "at best", "source"])
    for run in published():
        found = predicted(run)
        yield row(
            [
                run.what,
                run.card.name,
                *(f"{rounded(rate):,}" for rate in (run.rate, found.expected, found.best)),
                run.source,
            ]
        )


def goal() -> str:
    """How far the prediction for one RTX 3090 is from the goal."""
    model, card, wanted = ModelConfig(), known("RTX 3090"), 45_000
    found = computing.speed(card, model, vocabulary(), is_compiled=True)
    needed = wanted / found.expected
    others = shares()
    return (
        f"Our goal for GPT-2 small on one RTX 3090 is {wanted:,} tokens a second; predicted are "
        f"{rounded(found.expected):,}, at best {rounded(found.best):,}. The goal is "
        f"{percent(needed)} of the prediction: {sum(share >= needed for share in others)} of the "
        f"{len(others)} compiled runs above had that share or more. "
        "`bash benchmarks/confirm_3090.sh` measures it."
    )


def profile_table() -> Iterator[str]:
    """The all-reduce of DeepSpeed's profile, measured there and predicted here."""
    yield from head(["machines of 4 V100", "measured there, ms", "predicted, ms"])
    for machines, seconds in predicted_profile().items():
        fitted = " (fitted)" if machines == max(PROFILE) else ""
        yield row([str(machines), f"{PROFILE[machines]:.0f}", f"{1e3 * seconds:.0f}{fitted}"])


def predicted_profile() -> dict[int, float]:
    """Seconds by machines, at the rate that gives those of the most machines."""
    card = dataclasses.replace(known("V100"), has_nvlink=False)

    def seconds(machines: int, gigabits: float) -> float:
        return Cluster(card, 4 * machines, 4, gigabits).seconds(PROFILED)

    most = max(PROFILE)
    low, high = 0.1, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        too_slow = seconds(most, middle) > PROFILE[most] / 1e3
        low, high = (middle, high) if too_slow else (low, middle)
    return {machines: seconds(machines, high) for machines in PROFILE}


def percent(share: float) -> str:
    """A share for a reader."""
    return f"{100 * share:.0f} %"


def rounded(rate: float) -> int:
    """Three digits are more than a prediction can promise."""
    return int(float(f"{rate:.2e}"))


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def head(cells: Sequence[str]) -> Iterator[str]:
    """The first two lines of a table."""
    yield row(cells)
    yield row(["---"] * len(cells))


def row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
