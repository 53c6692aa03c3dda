"""Tensors on disk: what the library of the format reads, hashed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from gpt2zh.checkpoint import tensor_writer as module
from gpt2zh.checkpoint.tensor_writer import write_tensors

GENERATOR = torch.Generator().manual_seed(3)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR).to(dtype)


CASES = {
    "nothing": {},
    "one": {"wte.weight": numbers(7, 3)},
    "many": {f"h.{number}.weight": numbers(number, 2) for number in (10, 2, 1)},
    "no dimension": {"step": torch.tensor(3.25), "empty": torch.empty(0), "none": numbers(0, 4)},
    "half precision": {
        "b": numbers(3, 5, dtype=torch.bfloat16),
        "a": numbers(3, 5, dtype=torch.float16),
    },
    "of all widths": {
        "bytes": torch.arange(5, dtype=torch.uint8),
        "bf16": numbers(3, dtype=torch.bfloat16),
        "fp32": numbers(3),
    },
    "not finite": {"x": torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])},
    "other letters": {"层.权重": numbers(2), 'quote"and\\slash': numbers(1)},
}
cases = pytest.mark.parametrize("tensors", CASES.values(), ids=CASES)


def write(tensors: dict[str, torch.Tensor], path: Path) -> dict:
    return write_tensors(tensors, path, note=lambda what: None)


@cases
def test_the_library_reads_every_bit_back(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write(tensors, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(tensors)
        assert file.metadata() == {"format": "pt"}  # transformers refuses a file without it
        for name, tensor in tensors.items():
            found = file.get_tensor(name)
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            assert found.reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


@cases
def test_numbers_begin_at_multiples_of_their_width(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Whoever maps the file can use them in place, as with the files of the library."""
    write(tensors, tmp_path / "x.safetensors")
    content = (tmp_path / "x.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for name, tensor in tensors.items():
        begin, end = header[name]["data_offsets"]
        assert (8 + length + begin) % tensor.element_size() == 0
        assert end - begin == tensor.nbytes


@cases
def test_the_entry_tells_size_and_sha256_of_the_file(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    entry = write(tensors, tmp_path / "x.safetensors")
    content = (tmp_path / "x.safetensors").read_bytes()
    assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_tensor_larger_than_a_portion_is_whole_and_told_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION", 1000)
    large = numbers(1001)
    told: list[str] = []
    entry = write_tensors({"large": large}, tmp_path / "x.safetensors", note=told.append)
    assert torch.equal(safetensors.torch.load_file(tmp_path / "x.safetensors")["large"], large)
    assert entry["sha256"] == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    assert told.count("writing x.safetensors") == 1 + 5  # the header, 4004 bytes
    assert told[-1] == "waiting for the disk to hold x.safetensors"


def test_a_write_that_takes_less_than_it_was_given_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux writes at most 2 GiB at once, and less when a signal comes."""
    real = Path.open

    class Hesitant:
        def __init__(self, *arguments: object, **more: object) -> None:
            self.file = real(*arguments, **more)

        def __enter__(self) -> Hesitant:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: memoryview) -> int:
            return self.file.write(data[:7])

        def fileno(self) -> int:
            return self.file.fileno()

    tensors = {"x": numbers(100)}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *given, **more: Hesitant(*given, **more))
        write(tensors, tmp_path / "x.safetensors")
    assert torch.equal(safetensors.torch.load_file(tmp_path / "x.safetensors")["x"], tensors["x"])


FULL = """
import resource, sys
from pathlib import Path
import torch
from gpt2zh.checkpoint.tensor_writer import write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    write_tensors({"x": torch.zeros(50_000)}, Path(sys.argv[1]), note=lambda what: None)
except OSError as error:
    print("OSError", error.errno)
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 10, 100_000, 199_999])
def test_a_file_that_cannot_grow_is_an_error(tmp_path: Path, room: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "x.safetensors"), str(room)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "OSError 27\n"  # EFBIG
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write({"x": numbers(100)}, Path("/dev/full"))


def test_an_error_of_the_disk_that_comes_late_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk may say only at the end that it has no room."""

    def fsync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        write({"x": numbers(100)}, tmp_path / "x.safetensors")
