"""Write tensors to a safetensors file, hash them on the way and sync the file to disk.

The format (github.com/huggingface/safetensors, "Format") is eight bytes with the length of a JSON
header, the header, and the raw data. The safetensors library is not used, for two reasons: here the
sha256 is of the bytes that were meant, not of those that the disk returns, and the file is not read
again; and the GIL is released during the writing, so that it does not delay the next steps.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint8: "U8"}
_PORTION = 1 << 24  # bytes that are hashed and written at a time


def write_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, *, note: Callable[[str], None]
) -> dict[str, Any]:
    """Write a new safetensors file and sync it to disk.

    Args:
        tensors: Tensors by name; on the CPU and contiguous.
        path: The file.
        note: Called with what is done now, before each portion and before the sync.

    Returns:
        Its manifest entry: `bytes` and `sha256`.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as file:
        for portion in _portions(tensors):
            note(f"writing {path.name}")
            digest.update(portion)
            size += len(portion)
            rest = portion
            while len(rest):  # a write may take less than it was given
                rest = rest[file.write(rest) :]
        note(f"waiting for the disk to hold {path.name}")
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def _portions(tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview]:
    # Wide types first, then by name, as the library does, so that data stay aligned.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, tensor in ordered:
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        raw = tensor.reshape(-1).view(torch.uint8).numpy().data
        for start in range(0, len(raw), _PORTION):
            yield raw[start : start + _PORTION]
