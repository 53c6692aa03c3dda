"""The sample: its size, and that it is taken from everywhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.doctor.options import DoctorConfig
from data_tools.doctor.sample import read_documents, take_sample
from data_tools.sources.find import find_files, inspect_all


def sample_of(folder: Path, budget: int):
    config = DoctorConfig(input=(str(folder),))
    return take_sample(inspect_all(find_files(config.input), config), config, budget)


def numbered(label: str, count: int) -> list[str]:
    return [f"{label}{number}：" + "从前有座山，" * 10 for number in range(count)]


def test_a_small_corpus_is_read_whole(write_csv) -> None:
    path = write_csv("in/a.csv", numbered("第", 50))
    (sample,) = sample_of(path.parent, 10**6)
    assert list(read_documents([sample])) == numbered("第", 50)
    assert sample.read == path.stat().st_size


def test_the_budget_is_kept_and_spent_by_size(write_csv) -> None:
    write_csv("in/big.csv", numbered("大", 8000))
    folder = write_csv("in/small.csv", numbered("小", 2000)).parent
    big, small = sample_of(folder, 400_000)
    assert 350_000 < big.read + small.read < 450_000
    assert 3 < big.read / small.read < 5


def test_records_set_aside_are_those_of_the_part_taken(write_csv) -> None:
    path = write_csv("in/a.csv", numbered("第", 8000))
    lines = path.read_bytes().splitlines(keepends=True)
    for number in range(1, len(lines), 100):
        lines[number] = b"1,\xff,2\r\n"
    path.write_bytes(b"".join(lines))
    (sample,) = sample_of(path.parent, path.stat().st_size // 4)
    aside = sum(len(block.set_aside) for block in sample.blocks)
    assert aside / (aside + sum(map(len, sample.blocks))) == pytest.approx(0.01, abs=0.002)


def test_a_large_file_is_looked_at_in_its_middle_and_end(write_csv) -> None:
    texts = numbered("头", 3000) + numbered("中", 3000) + numbered("尾", 3000)
    (sample,) = sample_of(write_csv("in/a.csv", texts).parent, 100_000)
    assert {text[0] for text in read_documents([sample])} == {"头", "中", "尾"}


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst", "parquet"])
def test_packed_files_are_scaled_by_what_they_hold(tmp_path: Path, suffix: str) -> None:
    """Of a packed file bytes on the disk are counted, but bytes of text are asked for."""
    texts = [f"{number * 7919 % 100_003}：" + "从前有座山，" * 10 for number in range(40_000)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"content": texts}), path, row_group_size=10_000)
    else:
        data = "\n".join(["content", *texts]).encode()
        kind = "gzip" if suffix.endswith("gz") else "zstd"
        with pa.CompressedOutputStream(str(path), kind) as file:
            file.write(data)
    (sample,) = sample_of(tmp_path, 2_000_000)
    taken = sum(map(len, sample.blocks))
    assert taken < 20_000
    assert taken * sample.source.bytes / sample.read == pytest.approx(40_000, rel=0.2)


def test_of_very_many_files_some_are_read_from_all_over(write_csv) -> None:
    for number in range(40):
        folder = write_csv(f"in/{number:02d}.csv", ["短"]).parent
    samples = sample_of(folder, 65_536 * 5)
    read = [number for number, sample in enumerate(samples) if sample.read]
    assert len(samples) == 40 and len(read) == 5 and (read[0], read[-1]) == (0, 39)


def test_progress_rises_to_the_end(write_csv) -> None:
    write_csv("in/a.csv", numbered("大", 800))
    folder = write_csv("in/b.csv", numbered("小", 200)).parent
    config = DoctorConfig(input=(str(folder),))
    shares: list[float] = []
    sources = inspect_all(find_files(config.input), config)
    take_sample(sources, config, 1_000_000, advance=shares.append)
    assert len(shares) == 2 and shares == sorted(shares) and shares[-1] == 1
