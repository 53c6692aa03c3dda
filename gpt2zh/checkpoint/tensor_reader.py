"""Find the tensors of a checkpoint by name, read them one at a time, check and compare them.

One file holds the weights; the moments are in one file per rank that wrote them. So a tensor is
looked up by name in all files.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gpt2zh.config.errors import UserError
from gpt2zh.files.run_folder import list_files
from gpt2zh.train.optimizer import moments_of

WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer-*.safetensors"
_MOST = 4
"""Faults of a checkpoint that a refusal lists."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in an open file; it stays readable when the file is deleted."""

    name: str
    path: Path
    _file: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, from the file's header."""
        return tuple(self._file.get_slice(self.name).get_shape())

    @property
    def dtype(self) -> str:
        """Its type in the file's header, such as `F32`."""
        return str(self._file.get_slice(self.name).get_dtype())

    def read(self) -> torch.Tensor:
        """Read the tensor to the CPU."""
        return self._file.get_tensor(self.name)


def open_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return every weight by parameter name and every moment as `<moment>.<parameter name>`.

    Only files in the manifest are read: others may be of another checkpoint, and nothing checks
    their bytes.

    Raises:
        OSError: A file cannot be read.
        SafetensorError: A file is damaged.
    """
    found = {}
    listed = sorted(list_files(folder))
    for name in (WEIGHTS, *fnmatch.filter(listed, OPTIMIZER)):
        if name not in listed:
            continue
        path = folder / name
        file = safe_open(path, "pt")
        for tensor in file.keys():  # noqa: SIM118
            found[tensor] = StoredTensor(tensor, path, file)
    return found


def find_tensor_faults(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], *, optimizer: str, values: bool
) -> Iterator[str]:
    """Yield what is wrong with the tensors of a checkpoint, each fault with its file.

    Args:
        folder: The checkpoint.
        shapes: Shapes of the model's parameters, by name.
        optimizer: The `optimizer.kind` of its run.
        values: Also read the values, and find those that are not finite.
    """
    try:
        stored = open_tensors(folder)
    except (OSError, SafetensorError) as error:
        yield f"the tensors of {folder} cannot be read: {error}"
        return
    expected = dict(shapes)
    for name, shape in shapes.items():
        expected |= {f"{kind}.{name}": shape for kind in moments_of(optimizer, name)}
    for name in sorted(expected.keys() - stored.keys()):
        where = WEIGHTS if name in shapes else OPTIMIZER
        yield f"{folder / where} lacks {name}"
    for name in sorted(stored.keys() - expected.keys()):
        yield f"{stored[name].path} holds {name}, which the model does not have"
    for name in sorted(expected.keys() & stored.keys()):
        tensor = stored[name]
        try:
            yield from (
                f"{tensor.path}: {name} {fault}"
                for fault in _faults(tensor, expected[name], values)
            )
        except (OSError, SafetensorError) as error:
            yield f"{tensor.path}: {name} cannot be read: {error}"


def require_fitting(folder: Path, shapes: Mapping[str, tuple[int, ...]], *, optimizer: str) -> None:
    """Check by the headers of its files that a checkpoint fits a model, before it is loaded.

    Args:
        folder: The checkpoint, which is complete.
        shapes: Shapes of the model's parameters, by name.
        optimizer: The `optimizer.kind` of the run.

    Raises:
        UserError: It does not fit; with the first faults.
    """
    faults = list(find_tensor_faults(folder, shapes, optimizer=optimizer, values=False))
    if faults:
        more = f" and {len(faults) - _MOST} more" if len(faults) > _MOST else ""
        raise UserError(
            f"checkpoint {folder} does not fit this run: {'; '.join(faults[:_MOST])}{more}. Its "
            "weights and moments must be those of the model and optimizer of the run; continue "
            "from another checkpoint with --resume, or with the version that wrote this one"
        )


def _faults(tensor: StoredTensor, shape: tuple[int, ...], values: bool) -> Iterator[str]:
    if tensor.shape != shape:
        yield f"has shape {list(tensor.shape)}, but the model has {list(shape)}"
    if tensor.dtype != "F32":
        yield f"is {tensor.dtype}, not fp32"
    if not values:
        return
    value = tensor.read()
    bad = int((~value.isfinite()).sum())
    if bad:
        yield f"has {bad:,} values of {value.numel():,} that are not finite"


def measure_difference(first: torch.Tensor, other: torch.Tensor) -> float | None:
    """Return how much two tensors differ; None if all bits are equal.

    Returns:
        The largest absolute difference, relative to the largest absolute value of the first tensor.
        Infinity if they cannot be compared; 0 if bits differ but values do not.
    """
    if first.shape != other.shape or first.dtype != other.dtype:
        return math.inf
    if torch.equal(_bits(first), _bits(other)):
        return None
    gap = (first.double() - other.double()).abs().max().item()
    if not math.isfinite(gap):
        return math.inf
    return gap / max(first.abs().max().item(), 1e-45) if gap else 0.0


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
