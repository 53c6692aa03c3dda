"""Lines for the user come once, from rank 0."""

from __future__ import annotations

import pytest

from gpt2zh.ranks.logs import say, warn
from gpt2zh.ranks.world import World


def test_only_rank_0_prints(capsys: pytest.CaptureFixture) -> None:
    for rank in range(3):
        say(World(rank, 3), "step 1")
        warn(World(rank, 3), "the disk is full")
    assert capsys.readouterr() == ("step 1\n", "warning: the disk is full\n")
