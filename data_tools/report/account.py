"""All that a report shows, read from a folder of shards and checked against itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.config import PrepareConfig
from data_tools.report.groups import Group, each, grouped, root_of, together
from data_tools.report.lengths import Lengths, joined, read_lengths
from data_tools.report.near import NearSummary, read_near
from data_tools.shards.inventory import list_files
from data_tools.shards.ledger import ledger_faults
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.data.manifest import MANIFEST, Manifest, Source, read_manifest
from gpt2zh.files.checksum import check_size
from gpt2zh.pages.numbers import plural


@dataclass(frozen=True)
class Account:
    """What is in a folder of shards and where it comes from."""

    name: str
    """Of the folder."""
    manifest: Manifest
    groups: tuple[Group, ...]
    """All sources in a few lines."""
    train: tuple[Lengths, ...]
    """Of the training documents, by group."""
    validation: tuple[Lengths, ...]
    """Of the documents held out, by group."""
    near: NearSummary | None = None
    """The near duplicates; None if they were not searched."""

    @cached_property
    def all(self) -> Group:
        """All sources in one line."""
        return together(self.manifest.sources, "all")

    @cached_property
    def groups_with_all(self) -> list[Group]:
        """The groups, after one line for all of them unless there is only one."""
        return [*([self.all] if len(self.groups) != 1 else []), *self.groups]

    @cached_property
    def files(self) -> list[Group]:
        """Each source in a line of its own."""
        return each(self.manifest.sources)

    @cached_property
    def root(self) -> PurePosixPath:
        """Deepest folder that holds all sources."""
        return root_of(self.manifest.sources)

    @cached_property
    def lengths(self) -> tuple[Lengths, ...]:
        """Of all documents, by group."""
        pairs = zip(self.train, self.validation, strict=True)
        return tuple(joined(pair) for pair in pairs)

    @cached_property
    def cutting(self) -> str:
        """How documents were cut, which changes what counts as a document; "" if they are whole."""
        blocks = self.manifest.split_rule.block_tokens
        if not blocks:
            return ""
        return (
            f"blocks of {plural(blocks, 'token')} are held out for validation, not whole "
            "documents; each part of a document that was cut counts as a document here"
        )

    @cached_property
    def unusual(self) -> list[Source]:
        """Sources that are not CSV in plain UTF-8."""
        return [source for source in self.manifest.sources if kind_of(source) != "csv, utf-8"]

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of the libraries that have an effect on the rows."""
        return dict(self.manifest.options.get("versions", {}))

    @cached_property
    def options(self) -> dict[str, str]:
        """Options that have an effect on the rows, as they are typed."""
        return {
            name: _typed(value)
            for name, value in sorted(self.manifest.options.items())
            if name not in ("versions", "tokenizer")  # the manifest names the tokenizer itself
        }

    @cached_property
    def chosen(self) -> set[str]:
        """Names of the options that differ from their defaults."""
        defaults = {
            field.name: _typed(field.default)
            for field in dataclasses.fields(PrepareConfig)
            if field.default is not dataclasses.MISSING
        }
        return {name for name, value in self.options.items() if value != defaults.get(name, value)}


def gather(folder: Path) -> Account:
    """Read what a folder of shards says about itself.

    Raises:
        UserError: It is not a folder of shards, files are missing or have another size, or its
            parts contradict each other; all faults are named.
    """
    manifest = _checked(folder)
    groups = grouped(manifest.sources)
    train, validation = read_lengths(folder, manifest, groups)
    return Account(
        name=folder.absolute().resolve().name,
        manifest=manifest,
        groups=tuple(groups),
        train=tuple(train),
        validation=tuple(validation),
        near=read_near(folder, manifest, root_of(manifest.sources)),
    )


def _checked(folder: Path) -> Manifest:
    """Read a manifest, and check that its ledger adds up and its files have their sizes."""
    manifest = read_manifest(folder)
    faults = [
        f"{folder / MANIFEST} does not add up to 100 %: {fault}; the file was changed, or gpt2zh "
        "has a bug: restore the file or prepare the shards again"
        for fault in ledger_faults(manifest)
    ]
    for item in list_files(manifest):
        attempt(partial(check_size, folder, item.entry, kind=item.kind), faults)
    raise_all(faults, str(folder))
    return manifest


def kind_of(source: Source) -> str:
    """Return format, compression and encoding in one text."""
    parts = (source.format, source.compression, source.encoding)
    return ", ".join(part for part in parts if part)


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(_typed, value))
    return "" if value is None else str(value)
