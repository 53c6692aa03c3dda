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

from data_tools.clean.options import describe
from data_tools.config import PrepareConfig
from data_tools.shards.split import HASH_NAME
from data_tools.sources.cut import Slice, cut
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
    "tokenizer",  # its hash counts instead
)


@dataclass(frozen=True)
class SourceSlice:
    """A slice of one source."""

    source: int
    """Number of the source in the manifest; the sources of a base come first."""
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

    def unit(self, number: int) -> Unit:
        """Return a unit by its number."""
        return self.units[number - self.units[0].number]

    def source(self, number: int) -> SourceFile:
        """Return a source by its number in the manifest."""
        return self.sources[number - self.first_source]

    @cached_property
    def identity(self) -> str:
        """Hash of everything that defines the result; the times of files do not."""
        table = asdict(replace(self, sources=tuple(replace(s, mtime_ns=0) for s in self.sources)))
        text = json.dumps(table, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def config(self) -> PrepareConfig:
        """The options for the stages; those that do not define the rows have their defaults."""
        names = {field.name for field in fields(PrepareConfig)} - set(_NOT_DEFINING)
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
                "run the same command with --restart to start again, or finish it with the version "
                "that began it"
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
        return PreparePlan(tokenizer=tokenizer, sources=tuple(sources), units=tuple(units), **table)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); run the same command with "
            "--restart to start again"
        ) from error


def differences(before: PreparePlan, now: PreparePlan) -> list[str]:
    """Return what distinguishes two plans, one line each."""
    names = before.tokenizer.name, now.tokenizer.name
    lines = option_differences(before.options, now.options, tokenizers=names)
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
        lines.append("the shards to append to have changed")
    if not lines and before.units != now.units:
        lines.append("the input would be cut at other places, so the content of a file changed")
    return sorted(lines)


def option_differences(
    before: dict[str, Any], now: dict[str, Any], *, tokenizers: tuple[str, str]
) -> list[str]:
    """Return which defining options differ, one line each.

    Args:
        before: From `defining_options`.
        now: The same of another request.
        tokenizers: The tokenizers as they were typed; the options have only their hashes.
    """
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name == "versions":
            lines += _version_differences(old or {}, new or {})
        elif name == "tokenizer" and tokenizers[0] == tokenizers[1]:
            lines.append(
                f"--tokenizer {tokenizers[1]} has other content than before "
                f"({str(old)[:12]} before, {str(new)[:12]} now)"
            )
        else:
            old, new = tokenizers if name == "tokenizer" else (old, new)
            lines.append(f"--{name.replace('_', '-')} was {old}, is now {new}")
    return lines


def _version_differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return [
        f"the version of {name} was {before.get(name, 'not recorded')}, is now "
        f"{now.get(name, 'not recorded')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
