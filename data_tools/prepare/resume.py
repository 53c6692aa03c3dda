"""Choose the plan: continue an unfinished one for the same work, else make one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from data_tools.config import PrepareConfig
from data_tools.prepare.differences import differences, request_differences
from data_tools.prepare.formats import read_digests
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import (
    PreparePlan,
    defining_options,
    make_plan,
    read_plan,
    write_plan,
)
from data_tools.sources.find import SourceFile
from data_tools.sources.read import slice_digest
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import Manifest
from gpt2zh.text.tokenizer import TextTokenizer


def choose_plan(
    config: PrepareConfig,
    folder: PartialFolder,
    tokenizer: TextTokenizer,
    sources: Sequence[SourceFile],
    base: Manifest | None,
) -> PreparePlan:
    """Return the existing plan if it is for the same work; make one if there is none.

    Raises:
        UserError: The existing plan is for other work, or its input changed.
    """
    with folder.only_one("plan", waits=True):
        if not folder.plan.exists():
            folder.clear()
            plan = make_plan(config, tokenizer, sources, base)
            tokenizer.save(folder.tokenizer)
            write_plan(folder.plan, plan)
            return plan
        before = read_plan(folder.plan)
        times = {source.path: source.mtime_ns for source in before.remaining.values()}
        touched = [s for s in sources if times.get(s.path) != s.mtime_ns]
        options = defining_options(config, tokenizer)
        if before.options == options and not touched and len(times) == len(sources):
            now = replace(before, base=base.fingerprint if base else "")  # nothing to cut again
        else:
            now = make_plan(config, tokenizer, sources, base)
        _refuse(folder, differences(before, now) or _changed_content(before, folder, touched))
        if touched:  # the content is the same: from now on compare with the new times
            write_plan(folder.plan, before.with_times(sources))
        return read_plan(folder.plan)


def check_request(
    plan: PreparePlan,
    config: PrepareConfig,
    folder: PartialFolder,
    tokenizer: TextTokenizer,
    base: Manifest | None,
) -> None:
    """Check that a request has the options of a plan, and the shards to which it appends.

    Raises:
        UserError: The plan is for other work.
    """
    options = defining_options(config, tokenizer)
    fingerprint = base.fingerprint if base else ""
    _refuse(folder, request_differences(plan, options, tokenizer.name, fingerprint))


def _refuse(folder: PartialFolder, lines: Sequence[str]) -> None:
    """Raise an error if anything differs from the plan in a folder."""
    if lines:
        raise UserError(
            f"{folder.path} holds an unfinished preparation with other input or options: "
            + "; ".join(lines)
            + "; use the same input and options to continue it, "
            + _other_ways(lines)
            + "or --restart to discard it"
        )


def _other_ways(lines: Sequence[str]) -> str:
    """Return what helps against differences in the input."""
    about_files = [line for line in lines if line.startswith(("input ", "the content of "))]
    ways = ""
    if any(not line.endswith(" is new") for line in about_files):
        ways += "--drop-changed to go on without the files that are gone or changed, "
    if any(line.endswith(" is new") for line in about_files):
        ways += "leave new files out and add them with --append when it is done, "
    return ways


def _changed_content(
    plan: PreparePlan, folder: PartialFolder, touched: Sequence[SourceFile]
) -> list[str]:
    """Compare files with a new time with what complete units read from them."""
    if not touched:
        return []
    by_path = {source.path: source for source in touched}
    changed = set()
    for number, digests in read_digests(plan, folder).items():
        source = by_path.get(plan.source(number).path)
        if source and any(slice_digest(source, part) != had for part, had in digests.items()):
            changed.add(f"the content of {source.path} changed")
    return sorted(changed)
