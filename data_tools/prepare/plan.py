"""What a preparation will do: the sources, cut into units before any text is encoded.

A unit is the smallest piece of work: workers take units, parts are sets of units, a killed
preparation continues with the units that are missing, and appended files become new units. Units
follow from the input and the options alone, never from who prepares them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.clean.options import describe
from data_tools.config import PrepareConfig
from data_tools.shards.split import HASH_NAME
from data_tools.sources.cut import Slice, cut
from data_tools.sources.delimiter import AUTO, canonical
from data_tools.sources.find import SourceFile
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import Manifest, TokenizerInfo
from gpt2zh.files.durable import write_whole
from gpt2zh.text.tokenizer import TextTokenizer

_FORMAT = 2  # of the plan's file
_NOT_DEFINING = (  # options that change neither rows nor ledger
    "input",
    "output",
    "workers",
    "part",
    "parts",
    "append",
    "overwrite",
    "restart",
    "drop_changed",
    "tokenizer",  # its hash counts instead
)


NEWER_OPTIONS = {"delimiter": AUTO}
"""Options that older versions lack, each with the value that means what these did. With this value
they are not recorded, so that an older preparation is the same, and can be appended to."""


@dataclass(frozen=True)
class SourceSlice:
    """A slice of one source."""

    source: int
    """Number of the source in the plan; the sources of a base come first."""
    slice: Slice


@dataclass(frozen=True)
class Unit:
    """Slices that are prepared together."""

    number: int
    slices: tuple[SourceSlice, ...]

    @property
    def bytes(self) -> int:
        """Size of its input."""
        return sum(one.slice.end - one.slice.begin for one in self.slices)


@dataclass(frozen=True)
class PreparePlan:
    """The whole work of one preparation."""

    tokenizer: TokenizerInfo
    options: dict[str, Any]
    """Everything besides the input that defines the rows, as the manifest records it."""
    sources: tuple[SourceFile, ...]
    units: tuple[Unit, ...]
    base: str = ""
    """Fingerprint of the shards to which this is appended."""
    first_source: int = 0
    """Number of sources that these shards already have."""
    dropped: tuple[int, ...] = ()
    """Numbers of sources that are left out since the preparation began; no unit has them."""
    remade: tuple[int, ...] = ()
    """Numbers of the units that held one of them."""
    origin: str = ""
    """Identity of the plan from which the first one was dropped."""

    def unit(self, number: int) -> Unit:
        """Return a unit by its number."""
        return self.units[number - self.units[0].number]

    def source(self, number: int) -> SourceFile:
        """Return a source by its number in the plan."""
        return self.sources[number - self.first_source]

    @cached_property
    def identity(self) -> str:
        """Hash of everything that defines the result; the times of files do not."""
        table = asdict(replace(self, sources=tuple(replace(s, mtime_ns=0) for s in self.sources)))
        # What older versions lack must not change the identity of their plans.
        for source in table["sources"]:
            if source["delimiter"] == ",":
                del source["delimiter"]
        if not self.dropped:
            del table["dropped"], table["remade"], table["origin"]
        text = json.dumps(table, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def draft_identity(self) -> str:
        """What the drafts have as identity of their plan; it stays when sources are dropped."""
        return self.origin or self.identity

    @property
    def remaining(self) -> dict[int, SourceFile]:
        """The sources that are not dropped, by their numbers."""
        numbered = enumerate(self.sources, self.first_source)
        return {number: source for number, source in numbered if number not in self.dropped}

    @cached_property
    def cuts(self) -> dict[Path, list[Slice]]:
        """Where each source is cut; the units follow from this, if no source was dropped."""
        cuts: dict[Path, list[Slice]] = {}
        for unit in self.units:
            for part in unit.slices:
                cuts.setdefault(self.source(part.source).path, []).append(part.slice)
        return cuts

    def manifest_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """Return the numbers of sources in the manifest, which does not list dropped ones.

        Args:
            numbers: (n,) numbers in the plan, of any integer type.
        """
        before = np.searchsorted(np.array(self.dropped, numbers.dtype), numbers)
        return numbers - before.astype(numbers.dtype)

    def with_times(self, sources: Sequence[SourceFile]) -> PreparePlan:
        """Return this plan with other times of some sources, whose content is the same."""
        times = {source.path: source.mtime_ns for source in sources}
        changed = (replace(s, mtime_ns=times.get(s.path, s.mtime_ns)) for s in self.sources)
        return replace(self, sources=tuple(changed))

    @cached_property
    def config(self) -> PrepareConfig:
        """The options for the stages; those that do not define the rows have their defaults."""
        names = {field.name for field in fields(PrepareConfig)} - set(_NOT_DEFINING)
        names -= NEWER_OPTIONS.keys() - self.options.keys()
        chosen = {name: self.options[name] for name in names}
        return PrepareConfig(input=(), output=Path(), tokenizer=self.tokenizer.name, **chosen)


def make_plan(
    config: PrepareConfig,
    tokenizer: TextTokenizer,
    sources: Sequence[SourceFile],
    base: Manifest | None = None,
) -> PreparePlan:
    """Cut the sources into units.

    Args:
        config: What the user asked for.
        tokenizer: The tokenizer that will be used.
        sources: Files, inspected.
        base: The shards to append to, if any; units and sources are numbered after theirs.
    """
    units: list[Unit] = []
    first = base.units[-1].number + 1 if base and base.units else 0
    first_source = len(base.sources) if base else 0
    slices: list[SourceSlice] = []
    size = 0

    def close() -> None:
        nonlocal slices, size
        if slices:
            units.append(Unit(first + len(units), tuple(slices)))
        slices, size = [], 0

    for number, source in enumerate(sources, first_source):
        for part in cut(source, config, config.unit_bytes):
            weight = part.end - part.begin
            if size + weight > 1.5 * config.unit_bytes:
                close()
            slices.append(SourceSlice(number, part))
            size += weight
    close()
    return PreparePlan(
        tokenizer=describe_tokenizer(tokenizer),
        options=defining_options(config, tokenizer),
        sources=tuple(sources),
        units=tuple(units),
        base=base.fingerprint if base else "",
        first_source=first_source,
    )


def defining_options(config: PrepareConfig, tokenizer: TextTokenizer) -> dict[str, Any]:
    """Return every option that defines the rows, and the versions of libraries that do."""
    chosen = {name: value for name, value in asdict(config).items() if name not in _NOT_DEFINING}
    chosen["delimiter"] = canonical(config.delimiter)
    chosen = {name: value for name, value in chosen.items() if NEWER_OPTIONS.get(name) != value}
    table = {
        **chosen,
        "tokenizer": tokenizer.hash,
        "hash": HASH_NAME,
        "versions": describe(config),
    }
    return json.loads(json.dumps(table))  # as JSON gives it back


def describe_tokenizer(tokenizer: TextTokenizer) -> TokenizerInfo:
    """Return what a manifest says about a tokenizer."""
    return TokenizerInfo(
        name=tokenizer.name,
        hash=tokenizer.hash,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )


def write_plan(path: Path, plan: PreparePlan) -> None:
    """Write the file of a plan."""
    table = {"format": _FORMAT, **asdict(plan)}
    write_whole(path, json.dumps(table, indent=1, default=str) + "\n")


def read_plan(path: Path) -> PreparePlan:
    """Read the file of a plan.

    Raises:
        UserError: It is damaged, or another version of gpt2zh wrote it.
    """
    try:
        table = json.loads(path.read_text("utf-8", "surrogateescape"))
        if table.pop("format", 1) != _FORMAT:
            raise UserError(
                f"{path} was written by another version of gpt2zh, which this one cannot continue; "
                "run prepare with --restart to start again, or finish it with the version that "
                "began it"
            )
        units = (
            Unit(
                unit["number"],
                tuple(SourceSlice(s["source"], Slice(**s["slice"])) for s in unit["slices"]),
            )
            for unit in table.pop("units")
        )
        sources = (SourceFile(**s | {"path": Path(s["path"])}) for s in table.pop("sources"))
        tokenizer = TokenizerInfo(**table.pop("tokenizer"))
        for name in ("dropped", "remade"):
            table[name] = tuple(table.get(name, ()))
        return PreparePlan(tokenizer=tokenizer, sources=tuple(sources), units=tuple(units), **table)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); run prepare with --restart to "
            "start again"
        ) from error
