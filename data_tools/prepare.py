"""`prepare`: CSV files to packed shards.

rows -> documents -> ids -> rows of tokens -> shards, a batch of documents at a time: memory does
not grow with the corpus. Everything that can be wrong with the request is checked first.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from data_tools import report
from data_tools.config import PrepareConfig
from data_tools.output import check_target, new_folder
from data_tools.progress import Progress
from data_tools.read import (
    Document,
    SetAside,
    check_headers,
    find_sources,
    open_source,
    read_rows,
)
from data_tools.split import HASH_NAME, is_validation
from data_tools.write import SplitWriter
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.data.manifest import (
    SET_ASIDE,
    TOKENIZER_DIR,
    Manifest,
    Source,
    SplitRule,
    TokenizerInfo,
    write_manifest,
)
from gpt2zh.data.packing import SMALLEST_ROW, FullPacker, Packer, ZeroNlpPacker
from gpt2zh.data.shard import TRAIN, VALIDATION, token_dtype
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_BATCH_CHARACTERS = 1_000_000  # encoded at once; an encoding takes about 100 bytes per token
_BATCH_DOCUMENTS = 10_000


def run(config: PrepareConfig) -> None:
    """Prepare a folder of shards and print what is in it."""
    begun = time.monotonic()
    check_options(config)
    check_target(config.output, overwrite=config.overwrite)
    sources = find_sources(config.input)
    check_headers(sources, config.content_column)
    tokenizer = load_tokenizer(config.tokenizer)
    make_packer(config, tokenizer)  # whether the tokenizer can serve this packing is known now
    total = sum(source.stat().st_size for source in sources)
    check_space(config.output, total * token_dtype(tokenizer.vocab_size).itemsize // 3)
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        progress = Progress("preparing", total)
        try:
            manifest = build(config, sources, tokenizer, folder, progress)
        finally:
            progress.close()
    report.warn(manifest)
    print(report.summary(manifest, config.output, seconds=time.monotonic() - begun))


def check_options(config: PrepareConfig) -> None:
    """Check what needs no file.

    Raises:
        UserError: Options are out of their range; all of them are named.
    """
    faults = []
    if config.row_length < SMALLEST_ROW:
        faults.append(
            f"--row-length {config.row_length} is too short; give at least {SMALLEST_ROW} tokens "
            "(512 is usual)"
        )
    if not 0 <= config.validation_fraction < 1:
        faults.append(
            f"--validation-fraction {config.validation_fraction} is no share; give a number from 0 "
            "to below 1, such as 0.005"
        )
    if config.shard_rows < 1:
        faults.append(f"--shard-rows {config.shard_rows} is too few; give at least 1 row")
    if not config.input:
        faults.append("--input names nothing; give a quoted glob such as 'corpus/**/*.csv'")
    raise_all(faults, "the options")


def check_space(output: Path, needed: int) -> None:
    """Compare the free space with an estimate of the output: one token for 3 bytes of CSV.

    Raises:
        UserError: It will not fit.
    """
    parent = next(folder for folder in output.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(
            f"output {output} needs about {needed / 1e9:.2f} GB, its disk has {free / 1e9:.2f} GB "
            "free; free some space or choose an output folder on another disk"
        )


def make_packer(config: PrepareConfig, tokenizer: TextTokenizer) -> Packer:
    """Return a fresh packer of the configured kind.

    Raises:
        UserError: The tokenizer lacks the tokens that the packing puts around a chunk.
    """
    dtype = token_dtype(tokenizer.vocab_size)
    if config.packing == "full":
        return FullPacker(
            config.row_length, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id, dtype=dtype
        )
    if tokenizer.cls_id is None or tokenizer.sep_id is None:
        raise UserError(
            f"--packing zero_nlp puts [CLS] and [SEP] around each chunk, which the tokenizer "
            f"{tokenizer.name} does not have; use --tokenizer bert-base-chinese (or the path of "
            "its vocab.txt) or --packing full"
        )
    return ZeroNlpPacker(
        config.row_length, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id, dtype=dtype
    )


def build(
    config: PrepareConfig,
    sources: Sequence[Path],
    tokenizer: TextTokenizer,
    folder: Path,
    progress: Progress,
) -> Manifest:
    """Fill `folder` with shards, tokenizer, manifest and the list of rows set aside.

    Raises:
        UserError: There is nothing to train on in the sources.
    """
    encoder = _Encoder(config, tokenizer, folder)
    accounts = []
    done = 0
    with (folder / SET_ASIDE).open("w", encoding="utf-8", errors="surrogateescape") as list_file:
        for source in sources:
            account = _Account()
            accounts.append(account)
            with open_source(source) as stream:
                rows = read_rows(stream, column=config.content_column, source=source)
                for document in _sift(rows, account, list_file, source):
                    if encoder.take(document, account):
                        progress.show(done + stream.tell())
            done += source.stat().st_size
        encoder.flush()
    splits = {name: writer.finish() for name, writer in encoder.writers.items()}
    manifest = Manifest(
        tokenizer=_tokenizer_info(tokenizer),
        row_length=config.row_length,
        packing=config.packing,
        split_rule=SplitRule(hash=HASH_NAME, validation_fraction=config.validation_fraction),
        splits=splits,
        sources=tuple(
            account.as_source(source) for source, account in zip(sources, accounts, strict=True)
        ),
    )
    report.check_not_empty(manifest)
    tokenizer.save(folder / TOKENIZER_DIR)
    write_manifest(folder, manifest)
    return manifest


@dataclass
class _Account:
    """What became of the rows of one source, while it is read."""

    documents: int = 0
    characters: int = 0
    tokens: int = 0
    empty: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)

    def as_source(self, path: Path) -> Source:
        counts = vars(self) | {"set_aside": dict(sorted(self.set_aside.items()))}
        return Source(path=path.as_posix(), bytes=path.stat().st_size, **counts)


def _sift(
    rows: Iterator[Document | SetAside], account: _Account, list_file: TextIO, source: Path
) -> Iterator[Document]:
    """Yield the documents; count the empty ones, list the broken ones."""
    for row in rows:
        if isinstance(row, SetAside):
            account.set_aside[row.reason] += 1
            entry = {"file": source.as_posix(), **asdict(row)}
            list_file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        elif not row.text or row.text.isspace():
            account.empty += 1
        else:
            yield row


class _Encoder:
    """Gathers documents into batches, encodes them and deals them out to the splits."""

    def __init__(self, config: PrepareConfig, tokenizer: TextTokenizer, folder: Path) -> None:
        self._fraction = config.validation_fraction
        self._tokenizer = tokenizer
        self._closing = make_packer(config, tokenizer).closing_tokens
        self._batch: list[tuple[Document, _Account]] = []
        self._characters = 0
        shape = (config.shard_rows, config.row_length)
        self.writers = {
            split: SplitWriter(
                folder,
                split,
                make_packer(config, tokenizer),
                np.empty(shape, token_dtype(tokenizer.vocab_size)),
                tokenizer_hash=tokenizer.hash,
            )
            for split in (TRAIN, VALIDATION)
        }

    def take(self, document: Document, account: _Account) -> bool:
        """Add a document; tell whether that filled the batch, which then was encoded."""
        self._batch.append((document, account))
        self._characters += len(document.text)
        is_full = self._characters >= _BATCH_CHARACTERS or len(self._batch) >= _BATCH_DOCUMENTS
        if is_full:
            self.flush()
        return is_full

    def flush(self) -> None:
        """Encode what was gathered and hand it to the writers."""
        encoded = self._tokenizer.encode_batch([document.text for document, _ in self._batch])
        dealt: dict[str, list[list[int]]] = {TRAIN: [], VALIDATION: []}
        characters = Counter[str]()
        for (document, account), ids in zip(self._batch, encoded, strict=True):
            split = VALIDATION if is_validation(document.data, self._fraction) else TRAIN
            dealt[split].append(ids)
            characters[split] += len(document.text)
            account.documents += 1
            account.characters += len(document.text)
            account.tokens += len(ids) + self._closing
        for split, documents in dealt.items():
            self.writers[split].add(documents, characters=characters[split])
        self._batch.clear()
        self._characters = 0


def _tokenizer_info(tokenizer: TextTokenizer) -> TokenizerInfo:
    return TokenizerInfo(
        name=tokenizer.name,
        hash=tokenizer.hash,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
    )
