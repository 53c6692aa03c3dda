"""A process group of one, for what exchanges something with all ranks in each step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch.distributed as dist


@pytest.fixture
def lone_group() -> Iterator[None]:
    """Initialise torch.distributed with gloo in this process, and leave it after the test."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
