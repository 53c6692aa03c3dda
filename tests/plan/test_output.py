"""What can never be the folder of a run is refused before anything is made there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import TrainingConfig
from gpt2zh.plan.output import check_output


def config_of(output: Path) -> TrainingConfig:
    return TrainingConfig(output=output)


def test_a_new_folder_and_that_of_a_run_pass(tmp_path: Path) -> None:
    check_output(config_of(tmp_path / "new"))
    (tmp_path / "config.yaml").touch()
    (tmp_path / ".lock").touch()
    check_output(config_of(tmp_path))
    check_output(config_of(tmp_path / "运行 1"))


def test_a_folder_of_shards_is_refused(tiny_shards: Path) -> None:
    before = sorted(tiny_shards.iterdir())
    with pytest.raises(UserError, match=r"holds shards or is a checkpoint .*manifest\.json"):
        check_output(config_of(tiny_shards))
    assert sorted(tiny_shards.iterdir()) == before


@pytest.mark.parametrize("name", ["line\nbreak", "tab\t", "escape\x1b[31m", "c1\x85"])
def test_a_name_with_control_characters_is_refused_and_shown_escaped(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError, match="control character") as caught:
        check_output(config_of(tmp_path / name))
    assert name not in str(caught.value) and ascii(name)[1:-1] in str(caught.value)


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="is a link to a folder that does not exist"):
        check_output(config_of(tmp_path / "link" / "run"))


def test_a_lock_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".lock").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with pytest.raises(UserError, match=r"\.lock: Permission denied.*chown -R"):
        check_output(config_of(tmp_path))
