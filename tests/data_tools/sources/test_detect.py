"""Encodings are detected by their marks, and without marks by the text itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.sources.detect import EncodingChoice, guess_encoding, settle
from data_tools.sources.find import inspect, inspect_all
from data_tools.sources.options import InputConfig

SIMPLIFIED = (
    "id,content\n1,操作系统是管理计算机硬件与软件资源的程序，“非常重要”。\n2,他说：你好！\n"
)
TRADITIONAL = "秦川雄帝宅，函谷壯皇居。\n綺殿千尋起，離宮百雉餘。\n連甍遙接漢，飛觀迥凌虛。\n"
ENGLISH = "All happy families are alike; each unhappy family is unhappy in its own way.\n"
FRENCH = "Les élèves étaient très gênés à l'idée d'être là.\n"
LETTERS = "été" + "abcdefgh" * 20  # of which UTF-16 would make hanzi


def detect_encoding(samples: list[bytes], choice: EncodingChoice) -> str:
    """The encoding of a file without neighbours."""
    path = Path("a.txt")
    return settle({path: guess_encoding(samples, choice)})[path]


REAL = Path(__file__).parents[4] / "shared" / "data" / "pretrain_csv"


@pytest.mark.parametrize("text", [SIMPLIFIED, TRADITIONAL, SIMPLIFIED + ENGLISH * 20])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "utf-16-be"])
def test_chinese_is_recognised_in_every_encoding(text: str, encoding: str) -> None:
    assert detect_encoding([text.encode(encoding)], "auto") == encoding


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_english_is_recognised(encoding: str) -> None:
    assert detect_encoding([ENGLISH.encode(encoding)], "auto") == encoding


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [("utf-8", "utf-8-sig"), ("gb18030", "gb18030"), ("utf-16-le",) * 2, ("utf-16-be",) * 2],
)
@pytest.mark.parametrize("option", ["auto", "same"])
def test_byte_order_mark_decides(encoding: str, wanted: str, option: str) -> None:
    chosen = option if option == "auto" else encoding.removesuffix("-le").removesuffix("-be")
    assert detect_encoding(["\ufeffab".encode(encoding)], chosen) == wanted


def test_some_bad_bytes_leave_utf_8_what_it_is() -> None:
    data = (SIMPLIFIED * 20).encode()
    generator = random.Random(0)
    for bad in (b"\xff", b"\xd6\xd0", b"\x00", "坏".encode("gb18030")):
        broken = data
        for _ in range(10):
            at = generator.randrange(len(broken))
            broken = broken[:at] + bad + broken[at:]
        assert detect_encoding([broken], "auto") == "utf-8"


@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"\0" * 99, FRENCH.encode("latin-1") * 9, LETTERS.encode("latin-1"), b"\xff" * 99],
)
def test_text_that_is_not_chinese_in_any_encoding_is_taken_for_utf_8(data: bytes) -> None:
    assert detect_encoding([data], "auto") == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "utf-16-be"])
def test_samples_may_begin_and_end_within_a_character(encoding: str) -> None:
    data = (SIMPLIFIED * 50).encode(encoding)
    for at in range(0, 40, 2):
        samples = [data[: 401 + at], data[at : 900 + at], data[800 + at : 1601 + at]]
        assert detect_encoding(samples, "auto") == encoding


def test_what_the_user_says_counts() -> None:
    data = SIMPLIFIED.encode("gb18030")
    assert detect_encoding([data], "utf-8") == "utf-8"
    assert detect_encoding([SIMPLIFIED.encode()], "gb18030") == "gb18030"
    assert detect_encoding([SIMPLIFIED.encode("utf-16-be")], "utf-16") == "utf-16-be"
    assert detect_encoding([SIMPLIFIED.encode("utf-16-le")], "utf-16") == "utf-16-le"


@pytest.mark.skipif(not REAL.exists(), reason="the real corpora are not there")
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "utf-16-be"])
def test_real_corpora_are_recognised_in_every_encoding(encoding: str) -> None:
    for path in sorted(REAL.rglob("part-00[01].csv")):
        text = path.read_bytes()[:200_000].decode("utf-8-sig", "ignore")
        data = text.encode(encoding)
        for size in (300, 65_536):
            samples = [data[at : at + size] for at in (0, len(data) // 4 * 2, len(data) - size)]
            assert detect_encoding(samples, "auto") == encoding, path


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("chunk", [1, 20, 4_000_000])
def test_bytes_that_cannot_be_decoded_cost_their_record_only(
    read: Callable, set_limits: Callable, encoding: str, chunk: int
) -> None:
    set_limits(chunk=chunk)
    good = SIMPLIFIED.encode(encoding)
    bad = b"\xff" if encoding == "gb18030" else b"\x00\xd8" if "le" in encoding else b"\xd8\x00"
    row = "3,坏".encode(encoding) + bad + "\n4,好\n".encode(encoding)
    reading = read(
        "a.csv", good + row, encoding=encoding[:6].rstrip("-l").replace("gb1803", "gb18030")
    )
    assert reading.texts[-1] == "好" and len(reading.texts) == 3
    assert [fault[:2] for fault in reading.faults] == [(4, "bad encoding")]
    assert reading.aside[0].detail == f"not valid {encoding.upper()} at character 1"


def test_character_cut_off_at_the_end_of_the_file(read: Callable) -> None:
    reading = read("a.csv", SIMPLIFIED.encode("gb18030") + b"3,\xd6", encoding="gb18030")
    assert reading.faults == [(4, "bad encoding", 3)] and len(reading.texts) == 2


def test_chapters_indented_with_no_break_spaces_are_gb18030() -> None:
    text = ("\u00a0" * 4 + "次日，武王祭毕。\n") * 400
    assert detect_encoding([text.encode("gb18030")], "auto") == "gb18030"
    assert detect_encoding([text.encode()], "auto") == "utf-8"


def test_a_file_that_reads_well_in_two_encodings_follows_its_neighbours() -> None:
    short = guess_encoding(["谢谢".encode("gb18030")], "auto")
    assert not short.is_clear
    many = [guess_encoding([SIMPLIFIED.encode(code)], "auto") for code in ("gb18030", "utf-8")]
    plain = guess_encoding([ENGLISH.encode()], "auto")
    for clear in many:
        guesses = {Path("a/1.txt"): short, Path("a/2.txt"): clear, Path("a/3.txt"): plain}
        guesses |= {Path(f"b/{number}.txt"): many[0] for number in range(5)}
        assert settle(guesses)[Path("a/1.txt")] == clear.encoding  # not that of folder b
        assert settle(guesses)[Path("a/3.txt")] == "utf-8"
    assert settle({Path("a/1.txt"): short, Path("b/1.txt"): many[0]})[Path("a/1.txt")] == "gb18030"
    assert settle({Path("a/1.txt"): short, Path("a/2.txt"): plain})[Path("a/1.txt")] == "utf-8"


def test_the_neighbours_of_a_short_file_in_a_folder_decide(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes("谢谢".encode("gb18030"))
    (tmp_path / "2.txt").write_bytes(SIMPLIFIED.encode("gb18030"))
    options = InputConfig(input=())
    paths = [tmp_path / "1.txt", tmp_path / "2.txt"]
    assert [source.encoding for source in inspect_all(paths, options)] == ["gb18030"] * 2
    assert inspect(paths[0], options).encoding == "utf-8"


def test_big5_is_not_taken_for_an_encoding_that_is_read() -> None:
    assert detect_encoding([(TRADITIONAL * 9).encode("big5")], "auto") == "utf-8"


@pytest.mark.skipif(not REAL.exists(), reason="the real corpora are not there")
def test_pieces_of_real_text_are_seldom_unclear_and_never_wrong() -> None:
    generator = random.Random(0)
    counts = Counter[str]()
    for path in sorted(REAL.rglob("part-000.csv")):
        text = path.read_bytes()[:200_000].decode("utf-8-sig", "ignore")
        for _ in range(300):
            at, size = generator.randrange(len(text) - 20), generator.randint(3, 20)
            piece = text[at : at + size]
            for encoding in ("utf-8", "gb18030"):
                guess = guess_encoding([piece.encode(encoding)], "auto")
                right = guess.encoding == encoding or guess.is_ascii
                counts["right" if right else "wrong" if guess.is_clear else "unclear"] += 1
    assert counts["wrong"] == 0 and counts["unclear"] < 0.01 * counts.total()
