"""CSV as it comes: every good row is read, every broken one is set aside with its place."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from data_tools import read
from data_tools.read import Document, SetAside, check_headers, find_sources, read_rows
from gpt2zh.config.errors import UserError


def rows_of(data: bytes, column: str = "content") -> list[Document | SetAside]:
    return list(read_rows(io.BytesIO(data), column=column, source=Path("some.csv")))


def texts_of(data: bytes) -> list[str]:
    return [row.text for row in rows_of(data) if isinstance(row, Document)]


def faults_of(data: bytes) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows_of(data) if isinstance(row, SetAside)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark_do_not_matter(line_end: str, mark: bytes) -> None:
    text = 'content,id\n"一,""二""",1\n\n三,2\n'.replace("\n", line_end)
    rows = rows_of(mark + text.encode())
    assert [(row.text, row.line) for row in rows] == [('一,"二"', 2), ("三", 4)]


def test_line_breaks_inside_a_text_are_kept_and_counted() -> None:
    rows = rows_of('id,content\n1,"一\r\n二\n"\n2,三\n'.encode())
    assert [(row.text, row.line) for row in rows] == [("一\r\n二\n", 2), ("三", 5)]


def test_column_may_stand_anywhere() -> None:
    assert texts_of("date,content,url\n今,一,x\n明,二,y".encode()) == ["一", "二"]


def test_empty_file_and_header_alone_hold_no_rows() -> None:
    assert rows_of(b"") == rows_of(b"content\n") == rows_of(b"\n\n") == []


def test_text_of_a_few_megabytes_is_read() -> None:
    text = "很长的一段话。\n" * 500_000
    assert texts_of(f'content,id\n"{text}",1\n短,2\n'.encode()) == [text, "短"]


@pytest.mark.parametrize(
    ("data", "reason", "detail", "excerpt"),
    [
        (b"\xd6\xd0\xce\xc4", "bad UTF-8", "byte 0xD6 at character 0", "\\xd6\\xd0"),
        (b"ab\xe4\xb8", "bad UTF-8", "byte 0xE4 at character 2", "ab\\xe4"),
        (b"a\xed\xa0\x80b", "bad UTF-8", "byte 0xED at character 1", "\\xed"),
        (b"ab\x00cd", "NUL character", "at character 2", "ab\x00cd"),
        (b"a,b,c", "ragged row", "4 fields where the header has 2", "a,b,c"),
        (b'"a"b', "broken quoting", "expected after", '"a"b'),
        (b'"never closed', "broken quoting", "unexpected end of data", '"never closed'),
    ],
)
def test_broken_row_is_set_aside_and_the_others_are_read(
    data: bytes, reason: str, detail: str, excerpt: str
) -> None:
    table = b"content,id\n" + "好,0\n".encode() + data + b",1\n" + "坏,2\n".encode()
    found = rows_of(table)
    assert [row.text for row in found if isinstance(row, Document)] == ["好", "坏"]
    (fault,) = [row for row in found if isinstance(row, SetAside)]
    assert (fault.line, fault.reason) == (3, reason)
    assert detail in fault.detail and excerpt in fault.excerpt


def test_row_with_too_few_fields_is_ragged() -> None:
    assert faults_of(b"id,content\n1,a\n2\n3,c\n") == [(3, "ragged row")]


def test_unclosed_quote_costs_one_row_and_not_the_file() -> None:
    lines = ["id,content", '1,"开了没有关', *(f"{i},第{i}行" for i in range(2, 3000))]
    data = "\n".join(lines).encode()
    assert faults_of(data) == [(2, "broken quoting")]
    assert len(texts_of(data)) == 2998


def test_unclosed_quote_before_quoted_rows_costs_one_row() -> None:
    data = 'id,content\n1,"开了没有关\n2,"第二行"\n3,"第三\n行"\n4,四\n'.encode()
    assert faults_of(data) == [(2, "broken quoting")]
    assert texts_of(data) == ["第二行", "第三\n行", "四"]


def test_unclosed_quote_is_given_up_after_the_longest_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read, "LONGEST_RECORD", 1000)
    lines = ["id,content", '1,"开了没有关', *(f"{i},第{i}行" for i in range(2, 3000))]
    data = "\n".join(lines).encode()
    assert faults_of(data) == [(2, "too long")]
    assert len(texts_of(data)) == 2998


def test_line_that_is_itself_too_long_is_skipped_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "LONGEST_RECORD", 1000)
    data = ("id,content\n1," + "长" * 5500 + "\n2,好\n3," + "长" * 999 + "\n4,好\n").encode()
    assert faults_of(data) == [(2, "too long"), (4, "too long")]
    assert [(r.text, r.line) for r in rows_of(data) if isinstance(r, Document)] == [
        ("好", 3),
        ("好", 5),
    ]


def test_missing_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,contents,date\n", "utf-8")
    with pytest.raises(UserError) as caught:
        check_headers([path], "content")
    message = str(caught.value)
    assert str(path) in message and "id, contents, date" in message
    assert "--content-column contents" in message


def test_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("content,content\n", "utf-8")
    with pytest.raises(UserError, match="2 columns named 'content'"):
        check_headers([path], "content")


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.csv: No such file"):
        check_headers([tmp_path / "gone.csv"], "content")


def test_globs_folders_and_files_give_each_file_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.csv", "a.csv", "deep/er/c.csv", "deep/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content\n")
    monkeypatch.chdir(tmp_path)
    found = find_sources(["**/*.csv", str(tmp_path), "deep", "b.csv"])
    assert [path.name for path in found] == sorted(path.name for path in found)
    assert len(found) == 3
    assert [path.as_posix() for path in find_sources(["**/*.csv"])] == [
        "a.csv",
        "b.csv",
        "deep/er/c.csv",
    ]


@pytest.mark.parametrize("pattern", ["nothing/**/*.csv", "gone.csv", "."])
def test_input_without_a_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no file matches .*quoted glob"):
        find_sources([pattern])
