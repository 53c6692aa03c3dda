"""Run `doctor`: read a sample, count, draw conclusions, and repair the vocabulary if asked."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_tools.doctor import report
from data_tools.doctor.examine import Examination, examine
from data_tools.doctor.findings import Facts, draw_conclusions
from data_tools.doctor.forecast import compute_shares, documents_of, make_forecast
from data_tools.doctor.options import DoctorConfig
from data_tools.doctor.sample import (
    FileSample,
    list_set_aside,
    measure_reading,
    read_documents,
    take_sample,
)
from data_tools.shards.output import new_folder
from data_tools.sources.casualties import describe_all, find_first
from data_tools.sources.find import find_files, inspect_all
from gpt2zh.config.errors import UserError, printable, raise_all
from gpt2zh.data.packing import SMALLEST_ROW
from gpt2zh.files.durable import whole_file
from gpt2zh.pages.console import Progress, command
from gpt2zh.pages.numbers import percent, plural
from gpt2zh.plan.machine import find_machine
from gpt2zh.text.repair import check_repairable, is_repairable, repair
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_WORD = re.compile("[A-Za-z0-9]+")


def run(config: DoctorConfig) -> None:
    """Examine a sample of the corpus and print the report.

    Raises:
        UserError: An option is not valid, a file cannot be read, the corpus is empty, or the
            vocabulary cannot be repaired.
    """
    begun = time.monotonic()
    tokenizer = load_tokenizer(config.tokenizer)
    _check(config, tokenizer)
    sources = inspect_all(find_files(config.input), config)
    size = min(config.sample, sum(source.bytes for source in sources))
    with _shown("sampling", size) as advance:
        samples = take_sample(sources, config, config.sample, advance=advance)
    with _shown("examining", size) as advance:
        found = examine(samples, tokenizer, advance=advance)
    if not any(map(documents_of, found.groups)):
        raise UserError(
            f"the corpus is empty: there is no document in the sample of "
            f"{plural(len(samples), 'file')}; check --input and --content-column"
            + describe_all(find_first(list_set_aside(samples)))
        )
    facts = _gather_facts(config, samples, found, tokenizer)
    conclusions = draw_conclusions(facts)
    print(report.report(facts, conclusions, seconds=time.monotonic() - begun))
    result = report.machine_readable(facts, conclusions)
    if config.repair is not None:
        result["repair"] = _repair(config.repair, tokenizer, samples, found)
    if config.json is not None:
        _write_json(config.json, result)


@contextmanager
def _shown(label: str, size: int) -> Iterator[Callable[[float], None]]:
    """Show the progress of a work; give a function that takes the share that is done."""
    progress = Progress(label, size)
    try:
        yield lambda share: progress.show(share * size)
    finally:
        progress.close()


def _check(config: DoctorConfig, tokenizer: TextTokenizer) -> None:
    """Check the options before any file is read.

    Raises:
        UserError: Names all faults.
    """
    faults = []
    if config.row_length < SMALLEST_ROW:
        faults.append(
            f"--row-length {config.row_length} is too short; use at least {SMALLEST_ROW} tokens"
        )
    if config.sample < 1:
        faults.append(
            f"--sample {config.sample} is not a valid size; use a number of bytes such as 20000000"
        )
    if config.json is not None and (not config.json.parent.is_dir() or config.json.is_dir()):
        faults.append(
            f"--json {config.json} is not a file in a folder that exists; choose another path"
        )
    if config.repair is not None and config.repair.exists():
        faults.append(
            f"--repair {config.repair} already exists; choose a folder that does not exist"
        )
    raise_all(faults, "the command line")
    if config.repair is not None:
        check_repairable(tokenizer)


def _gather_facts(
    config: DoctorConfig,
    samples: Sequence[FileSample],
    found: Examination,
    tokenizer: TextTokenizer,
) -> Facts:
    return Facts(
        samples=samples,
        found=found,
        shares=compute_shares(found, config.row_length),
        forecast=make_forecast(
            found,
            row_length=config.row_length,
            vocab_size=tokenizer.vocab_size,
            seconds=measure_reading(samples, config) + found.seconds,
            machine=find_machine(),
        ),
        tokenizer=tokenizer.name,
        vocab_size=tokenizer.vocab_size,
        is_wordpiece=is_repairable(tokenizer),
        row_length=config.row_length,
    )


def _repair(
    folder: Path, tokenizer: TextTokenizer, samples: Sequence[FileSample], found: Examination
) -> dict[str, object]:
    """Make the repaired tokenizer, print it side by side with the old one, return the figures."""
    texts = list(read_documents(samples))
    made = repair(tokenizer, texts, name=str(folder))
    with _shown("examining", sum(round(sample.read) for sample in samples)) as advance:
        after = examine(samples, made.tokenizer, advance=advance)
    same = _compare_words(tokenizer, made.tokenizer, texts)
    with new_folder(folder) as building:
        made.tokenizer.save(building)
    lines = [
        "",
        f"repaired    {tokenizer.name}: its {tokenizer.vocab_size} ids are unchanged, "
        f"{plural(made.tokens, 'is', 'are')} new, "
        f"{plural(len(made.characters), 'character')} among them",
        *report.before_and_after(found, after),
        f"words       {percent(same)} of the words and numbers in Latin letters keep their "
        "ids, case and all;",
        "            the others are cut elsewhere or spelled with capitals; spaces are tokens now",
        f"output      {folder}",
        f"next        python -m data_tools prepare {command('--tokenizer', folder)} ...",
    ]
    print(printable("\n".join(lines)))
    return {
        "ids": made.tokenizer.vocab_size,
        "new_ids": made.tokens,
        "new_characters": "".join(made.characters),
        "latin_words_unchanged": same,
        "groups": [report.group_table(group) for group in after.groups],
    }


def _compare_words(old: TextTokenizer, new: TextTokenizer, texts: Sequence[str]) -> float:
    """Return the share of Latin words and numbers that both tokenizers encode alike."""
    counts = Counter(word for text in texts for word in _WORD.findall(text))
    words = list(counts)
    pairs = zip(words, old.encode_batch(words), new.encode_batch(words), strict=True)
    alike = sum(counts[word] for word, before, after in pairs if before == after)
    return alike / max(counts.total(), 1)


def _write_json(path: Path, table: dict[str, object]) -> None:
    text = json.dumps(table, ensure_ascii=False, indent=1) + "\n"
    try:
        with whole_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UserError(
            f"--json {path} cannot be written: {error.strerror}; choose a file in a folder that "
            "exists and is writable"
        ) from error
