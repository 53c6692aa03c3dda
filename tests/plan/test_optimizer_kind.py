"""A run continues with the optimizer it began with, for the other keeps other moments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plans import plan_of, refused, save_checkpoint

from gpt2zh.config.paths import IDENTITY
from gpt2zh.files import run_folder

KINDS = ("adamw", "muon")


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_optimizer_is_refused(tiny_shards: Path, run: Path, kind: str) -> None:
    newest = save_checkpoint(plan_of(tiny_shards, run, optimizer__kind=kind), 3)
    assert plan_of(tiny_shards, run, optimizer__kind=kind).resume_from == newest
    (other,) = set(KINDS) - {kind}
    message = refused(tiny_shards, run, optimizer__kind=other)
    assert f"optimizer.kind: '{kind}' in {newest}, '{other}' now" in message
    assert "use another --output" in message


def test_older_runs_are_adamws(tiny_shards: Path, run: Path) -> None:
    newest = save_checkpoint(plan_of(tiny_shards, run), 3)
    for where in (run, newest):
        path = where / IDENTITY
        identity = json.loads(path.read_text("utf-8"))
        assert identity.pop("optimizer.kind") == "adamw"
        path.write_text(json.dumps(identity), "utf-8")
    (newest / run_folder.MANIFEST).unlink()
    files = run_folder.make_entries(newest.iterdir())
    run_folder.commit(newest, newest.with_name("checkpoint-4"), files)
    assert plan_of(tiny_shards, run).resume_from == newest.with_name("checkpoint-4")
    assert "'adamw' in" in refused(tiny_shards, run, optimizer__kind="muon")
