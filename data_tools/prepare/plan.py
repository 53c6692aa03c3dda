"""What a preparation will do: its sources cut into units, worked out before any text is encoded.

A unit is the atom of everything: workers take units, parts are sets of units, a killed
preparation goes on with the units that are missing, and what is appended comes in units of its
own. Units follow from the input and the options alone, never from who prepares them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data_tools.clean.options import describe
from data_tools.config import PrepareConfig
from data_tools.sources.cut import Slice, cut
from data_tools.sources.find import SourceFile
from data_tools.split import HASH_NAME
from gpt2zh.data.manifest import Manifest, TokenizerInfo
from gpt2zh.text.tokenizer import TextTokenizer

_NOT_DEFINING = (  # options that change neither rows nor ledger
    "input",
    "output",
    "workers",
    "part",
    "parts",
    "append",
    "overwrite",
    "restart",
    "tokenizer",  # its hash defines the rows
)


@dataclass(frozen=True)
class Piece:
    """A slice of one source."""

    source: int
    """Number of the source in the manifest: the plan's first comes behind those of its base."""
    part: Slice


@dataclass(frozen=True)
class Unit:
    """Slices that are prepared together."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def bytes(self) -> int:
        """Size of its input."""
        return sum(piece.part.end - piece.part.begin for piece in self.pieces)


@dataclass(frozen=True)
class Plan:
    """The whole work."""

    tokenizer: TokenizerInfo
    options: dict[str, Any]
    """All that decides about the rows, besides the input."""
    sources: tuple[SourceFile, ...]
    units: tuple[Unit, ...]
    base: str = ""
    """Fingerprint of the shards to which this is appended."""
    first_source: int = 0
    """Sources that these shards have already."""

    @property
    def bytes(self) -> int:
        """Size of the input."""
        return sum(unit.bytes for unit in self.units)

    def unit(self, number: int) -> Unit:
        """Return a unit by its number."""
        return self.units[number - self.units[0].number]

    def source(self, number: int) -> SourceFile:
        """Return a source by its number in the manifest."""
        return self.sources[number - self.first_source]

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides about the result; times of files do not."""
        table = asdict(replace(self, sources=tuple(replace(s, mtime_ns=0) for s in self.sources)))
        text = json.dumps(table, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def make_plan(
    config: PrepareConfig,
    tokenizer: TextTokenizer,
    sources: Sequence[SourceFile],
    base: Manifest | None = None,
) -> Plan:
    """Cut the sources into units.

    Args:
        config: What the user asked for.
        tokenizer: The one that will be used.
        sources: Files, inspected.
        base: What is there already, when this is appended to it; numbers go on behind its last.
    """
    units: list[Unit] = []
    first = base.units[-1].number + 1 if base and base.units else 0
    first_source = len(base.sources) if base else 0
    pieces: list[Piece] = []
    size = 0

    def close() -> None:
        nonlocal pieces, size
        if pieces:
            units.append(Unit(first + len(units), tuple(pieces)))
        pieces, size = [], 0

    for number, source in enumerate(sources, first_source):
        for part in cut(source, config, config.unit_bytes):
            weight = part.end - part.begin
            if size + weight > 1.5 * config.unit_bytes:
                close()
            pieces.append(Piece(number, part))
            size += weight
    close()
    return Plan(
        tokenizer=describe_tokenizer(tokenizer),
        options=defining_options(config, tokenizer),
        sources=tuple(sources),
        units=tuple(units),
        base=base.fingerprint if base else "",
        first_source=first_source,
    )


def defining_options(config: PrepareConfig, tokenizer: TextTokenizer) -> dict[str, Any]:
    """Return every option that decides about the rows, and the versions of libraries that do."""
    chosen = {name: value for name, value in asdict(config).items() if name not in _NOT_DEFINING}
    table = {
        **chosen,
        "tokenizer": tokenizer.hash,
        "hash": HASH_NAME,
        "versions": describe(config),
    }
    return json.loads(json.dumps(table))  # as it will be read again


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


def config_of(plan: Plan, output: Path) -> PrepareConfig:
    """Return the config that leads to a plan, as far as it decides about the rows."""
    names = {field.name for field in fields(PrepareConfig)} - set(_NOT_DEFINING)
    chosen = {name: plan.options[name] for name in names}
    return PrepareConfig(input=(), output=output, tokenizer=plan.tokenizer.name, **chosen)


def plan_text(plan: Plan) -> str:
    """Return the text of the plan's file."""
    return json.dumps(asdict(plan), indent=1, default=str) + "\n"


def read_plan(path: Path) -> Plan:
    """Read a plan."""
    table = json.loads(path.read_text("utf-8", "surrogateescape"))
    sources = (SourceFile(**s | {"path": Path(s["path"])}) for s in table["sources"])
    units = (
        Unit(
            unit["number"],
            tuple(Piece(p["source"], Slice(**p["part"])) for p in unit["pieces"]),
        )
        for unit in table["units"]
    )
    return Plan(
        tokenizer=TokenizerInfo(**table["tokenizer"]),
        options=table["options"],
        sources=tuple(sources),
        units=tuple(units),
        base=table["base"],
        first_source=table["first_source"],
    )


def differences(before: Plan, now: Plan) -> list[str]:
    """Say what distinguishes two plans, one line each."""
    lines = option_differences(before.options, now.options)
    old = {source.path.as_posix(): source for source in before.sources}
    new = {source.path.as_posix(): source for source in now.sources}
    lines += [f"input {path} is gone" for path in old.keys() - new.keys()]
    lines += [f"input {path} is new" for path in new.keys() - old.keys()]
    for path in old.keys() & new.keys():
        a, b = (replace(table[path], mtime_ns=0) for table in (old, new))
        lines += [
            f"input {path}: {name} was {getattr(a, name)}, is now {getattr(b, name)}"
            for name in ("bytes", "format", "compression", "encoding")
            if getattr(a, name) != getattr(b, name)
        ]
    if before.base != now.base:
        lines.append("the shards to append to are other ones")
    if not lines and before.units != now.units:
        lines.append("the input is cut at other places, so the content of a file changed")
    return sorted(lines)


def option_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say which defining options differ, one line each."""
    return [
        f"--{name.replace('_', '-')} was {before.get(name)}, is now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
