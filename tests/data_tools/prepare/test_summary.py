"""What a preparation prints at its end, and which results it refuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from ledgers import make_ledger, make_source, make_split

from data_tools.prepare.summary import check_not_empty, show
from gpt2zh.config.errors import UserError
from gpt2zh.cost.cards import card_named
from gpt2zh.data.manifest import ASIDE, EMPTY, EXACT, KEPT, NEAR, Manifest
from gpt2zh.plan.machine import Machine

FATES = {KEPT: (4, 400), EXACT: (2, 50), EMPTY: (1, 10)}
OUT = Path("out")
LAPTOP = Machine(0, None, 2)
GPU = Machine(1, card_named("RTX 3090"), 8)


def made(fates: Mapping[str, tuple[int, int]] = FATES, **values: int) -> Manifest:
    """Return a manifest of one source with 20 tokens; values change its training split."""
    manifest = make_ledger([make_source(fates=fates, characters=30, tokens=20)])
    train = replace(manifest.splits["train"], **values)
    held = make_split(documents=1, characters=5, tokens=5)
    return replace(manifest, splits={"train": train, "validation": held})


def test_the_summary_says_what_was_made_and_what_comes_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(made(), OUT, seconds=2.0, machine=LAPTOP)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "documents   5 (2 exact duplicate, 1 empty, 0 set aside)" in shown.out
    assert "tokens      25, 0.714 per character (t, 9 ids)" in shown.out
    assert "train       3 rows of 8 from 4 documents, 4 tokens of padding\n" in shown.out
    assert "validation  1 row of 8 from 1 document, 3 tokens of padding\n" in shown.out
    assert "ledger      python -m data_tools report out\n" in shown.out
    assert (
        "next        deepspeed launcher/pretrain.py --config configs/gpt2-tiny.yaml " in shown.out
    )
    assert "--data out --output runs/tiny --deepspeed_config ds_configs/zero1.json" in shown.out
    assert " --model.context 8 --train.global_batch 3 " in shown.out  # there are only three rows
    assert shown.out.endswith("1 step in less than a minute on 2 CPU cores, by estimate\n")


def test_a_path_with_a_space_is_quoted_in_every_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(made(), Path("my corpus/a'b"), seconds=2.0, machine=LAPTOP)
    lines = capsys.readouterr().out.splitlines()
    (ledger,) = (line for line in lines if line.startswith("ledger"))
    (following,) = (line for line in lines if line.startswith("next"))
    assert shlex.split(ledger)[-1] == "my corpus/a'b"
    assert "my corpus/a'b" in shlex.split(following)


def test_with_a_gpu_and_many_rows_gpt2_small_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    show(replace(made(rows=960_000), row_length=512), OUT, seconds=2.0, machine=GPU)
    shown = capsys.readouterr().out
    assert "--config configs/gpt2-small.yaml --data out --output runs/small" in shown
    assert "1,000 steps in about" in shown and "on 1 x RTX 3090, by estimate" in shown


def test_rows_of_512_need_no_option_for_the_context(capsys: pytest.CaptureFixture[str]) -> None:
    show(replace(made(), row_length=512), OUT, seconds=2.0)
    assert "--model.context" not in capsys.readouterr().out


def test_records_set_aside_are_counted_and_their_list_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = {"set aside: bad UTF-8": (2, 9), "set aside: ragged row": (1, 9)}
    show(made(FATES | more | {"filtered: too short": (3, 9)}), OUT, seconds=2.0)
    shown = capsys.readouterr().out
    assert "set aside   3.7 % of the bytes; see out/set_aside.jsonl" in shown
    assert "3 filtered: 3 too short; 1 empty, 3 set aside: 2 bad UTF-8, 1 ragged row)" in shown


def test_dropped_tokens_have_their_share(capsys: pytest.CaptureFixture[str]) -> None:
    show(made(dropped_tokens=5, dropped_documents=2), OUT, seconds=2.0)
    assert "; dropped 5 tokens (25.0 %), 2 documents whole\n" in capsys.readouterr().out


def test_an_empty_validation_split_is_warned_about_with_a_cure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = made().splits | {"validation": make_split()}
    show(replace(made(), splits=empty), OUT, seconds=2.0)
    shown = capsys.readouterr().err
    assert "warning: the validation split is empty" in shown
    assert "20 tokens are too few to hold out a row of 8; give more text or a smaller" in shown
    rule = replace(made().split_rule, validation_fraction=0.0)
    show(replace(made(), splits=empty, split_rule=rule), OUT, seconds=2.0)
    assert capsys.readouterr().err == ""  # nothing was to be held out


def test_blocks_that_are_held_out_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    rule = replace(made().split_rule, block_tokens=7)
    show(replace(made(), split_rule=rule), OUT, seconds=2.0)
    assert "held out    blocks of 7 tokens, because there are too few" in capsys.readouterr().out
    near = made(FATES | {NEAR: (3, 30)})
    near = replace(near, split_rule=rule, options={"near_duplicates": "validation"})
    show(near, OUT, seconds=2.0)
    assert "of 7 tokens, because the held-out documents were near" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [{"near_duplicates": "validation"}, {"exact_duplicates": "keep"}]
)
def test_a_validation_split_that_is_empty_because_of_copies_has_its_own_cure(
    capsys: pytest.CaptureFixture[str], options: dict[str, str]
) -> None:
    empty = made().splits | {"validation": make_split()}
    show(replace(made(), splits=empty, options=options), OUT, seconds=2.0)
    shown = capsys.readouterr().err
    assert "no text that fills a row could be held out without a copy" in shown
    assert "--exact-duplicates drop --near-duplicates drop" in shown and "too few" not in shown
    few = made(rows=1, tokens=1)
    empty = few.splits | {"validation": make_split()}
    show(replace(few, splits=empty, options=options), OUT, seconds=2.0)
    assert "1 token is too few to hold out a row of 8" in capsys.readouterr().err


def write_list(folder: Path, *faults: tuple[int, str]) -> Path:
    entries = [
        {"file": "a.csv", "line": line, "reason": reason, "detail": "d", "excerpt": "e", "size": 3}
        for line, reason in faults
    ]
    path = folder / "set_aside.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.mark.parametrize("size", [4, 5])
def test_more_than_one_percent_of_the_bytes_set_aside_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    write_list(tmp_path, (3, "bad JSON"), (7, "bad UTF-8"), (9, "bad JSON"))
    show(made({KEPT: (4, 400), "set aside: bad JSON": (3, size)}), tmp_path, seconds=2.0)
    shown = capsys.readouterr().err
    assert (shown == "") == (size == 4)
    if size == 5:
        head, *lines = shown.splitlines()
        assert head.startswith("warning: 1.2 % of the bytes were set aside; the first fault")
        assert lines[0] == "  bad JSON (2): a.csv:3: d: e -> correct it there"
        assert lines[1].startswith("  bad UTF-8 (1): a.csv:7: d: e -> correct these bytes")


def test_a_record_that_another_encoding_would_save_is_named_however_few_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [("maybe Big5", 3), ("bad UTF-8", 4), ("unclear encoding", 5)]
    lines = [
        json.dumps(
            {
                "file": "a.txt",
                "line": line,
                "reason": reason,
                "detail": "d",
                "excerpt": "e",
                "size": 1,
            }
        )
        for reason, line in faults
    ]
    (tmp_path / "set_aside.jsonl").write_text("\n".join(lines))
    show(
        made({KEPT: (4, 9997)} | {ASIDE + reason: (1, 1) for reason, _ in faults}),
        tmp_path,
        seconds=1,
    )
    shown = capsys.readouterr().err
    assert "0.030 % of the bytes were set aside" in shown
    assert "maybe Big5 (1): a.txt:3: d: e -> convert the file: iconv -f BIG5" in shown
    assert "unclear encoding (1): a.txt:5: d: e -> choose one with --encoding utf-8 or" in shown
    assert "bad UTF-8" not in shown


def test_text_files_that_were_too_long_for_a_document_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = made({KEPT: (4, 20_000_000)})
    texts = [replace(source, format="text") for source in manifest.sources]
    for unit, is_said in (("file", True), ("block", False)):
        options = {**manifest.options, "text_documents": unit}
        show(replace(manifest, sources=texts, options=options), OUT, seconds=2.0, machine=LAPTOP)
        assert ("long text   1 file of more than 16 MB" in capsys.readouterr().out) == is_said


def test_an_empty_result_names_the_first_fault_of_each_reason(tmp_path: Path) -> None:
    path = write_list(tmp_path, (1, "too long"), (5, "too long"))
    with pytest.raises(UserError, match=r"too long \(2\): a\.csv:1: d: e -> split it"):
        check_not_empty(made({EMPTY: (2, 5)}, rows=0, documents=0), [path])


@pytest.mark.parametrize(
    ("fates", "values", "message"),
    [
        (
            {EMPTY: (2, 5)},
            {"rows": 0, "documents": 0},
            r"1 file without a document \(2 empty, 0 set aside\); check .*--content-column$",
        ),
        ({"filtered: too short": (2, 5)}, {"rows": 0}, r"3?2 filtered: 2 too short.* the filters$"),
        ({KEPT: (4, 5)}, {"rows": 0}, r"--packing full dropped all 4 documents.*row of 8 tokens"),
        (
            {KEPT: (4, 5)},
            {"rows": 0, "documents": 0},
            r"all 4 documents fell into the validation split.*is 0\.1.*--validation-fraction 0$",
        ),
        (
            {KEPT: (1, 5)},
            {"rows": 0, "documents": 0},
            r"^the one document fell into the validation split, with no blocks of text left for",
        ),
        ({KEPT: (1, 5)}, {"rows": 0}, r"^--packing full dropped the one document, because none"),
    ],
)
def test_a_result_without_a_row_to_train_on_is_refused(
    fates: dict[str, tuple[int, int]], values: dict[str, int], message: str
) -> None:
    check_not_empty(made(fates), [])
    with pytest.raises(UserError, match=message):
        check_not_empty(made(fates, **values), [])
