"""`make check` sees every folder of ours, and a commit hook runs the same commands."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OURS = ("gpt2zh", "data_tools", "launcher", "benchmarks", "demo", "tests")
# Names that ruff and other tools take for output or for the code of others.
SUSPICIOUS = ("gpt2zh/dist", "gpt2zh/build", "data_tools/venv", "benchmarks/site-packages")
FAULT = '"""Document the module."""\n\nimport os\n\nnumber   =  1\n'


def folders() -> list[str]:
    """List every folder with Python files, at any depth."""
    found = {path.parent for name in OURS for path in (ROOT / name).rglob("*.py")}
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return files with a fault in a tree with the folders and the settings of this one."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / ".git").mkdir()  # only in a repository does ruff read .gitignore
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, tree / name)
    files = [tree / folder / "planted.py" for folder in (*folders(), *SUSPICIOUS)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FAULT)
    return [str(file) for file in files]


def ruff(*arguments: str, tree: Path) -> str:
    """Run ruff as `make check` does, which must fail, and return what it prints."""
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout


def missed(planted: Iterable[str], tree: Path, printed: str) -> list[str]:
    relative = [Path(file).relative_to(tree).as_posix() for file in planted]
    return [file for file in relative if file not in printed]


def tree_of(planted: list[str]) -> Path:
    return next(path for path in Path(planted[0]).parents if (path / "pyproject.toml").is_file())


@pytest.mark.slow
def test_lint_sees_a_fault_in_every_folder(planted: list[str]) -> None:
    tree = tree_of(planted)
    printed = ruff("check", "--output-format=concise", tree=tree)
    assert len(planted) > 40 and not missed(planted, tree, printed)
    assert printed.count("F401") == len(planted)


@pytest.mark.slow
def test_formatting_sees_a_fault_in_every_folder(planted: list[str]) -> None:
    tree = tree_of(planted)
    assert not missed(planted, tree, ruff("format", "--check", tree=tree))


@pytest.mark.slow
def test_no_folder_with_python_is_left_out() -> None:
    """A new folder at the top must be added to `OURS`, and so to what is linted and typed."""
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("this is not a clone of the repository")
    assert {line.partition("/")[0] for line in tracked.stdout.splitlines()} == set(OURS)


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def test_types_are_checked_in_every_package() -> None:
    files = {name.strip() for name in settings()["mypy"]["files"].split(",")}
    assert files >= {"gpt2zh", "data_tools", "launcher"}
    ignored = [name for name in settings().sections() if name.startswith("mypy-gpt2zh")]
    assert not ignored


def test_layers_hold_for_every_package() -> None:
    named = set(settings()["importlinter"]["root_packages"].split())
    assert named == {path.parent.name for path in ROOT.glob("*/__init__.py")} & {*OURS[:2]}


def hooks() -> list[dict]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]  # nothing from the network
    return config["repos"][0]["hooks"]


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_commit_hook_runs_a_command_of_make_check(hook: dict) -> None:
    assert hook["language"] == "system"
    command, *arguments = hook["entry"].split()
    assert command.startswith(".venv/bin/")
    name = Path(command).name
    assert shutil.which(name, path=str(Path(sys.executable).parent)), f"no {name} is installed"
    (line,) = [
        line for line in make_check() if line.startswith(" ".join([name, *arguments[:1]]).strip())
    ]
    assert line


def make_check() -> list[str]:
    """List the commands of `make check` without their folder."""
    text = (ROOT / "Makefile").read_text("utf-8")
    lines = text.partition("\ncheck:")[2].partition("\n\n")[0].splitlines()[1:]
    return [line.partition("$(BIN)/")[2] for line in lines]


def test_every_command_of_make_check_is_a_commit_hook() -> None:
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks()]
    assert len(entries) == len(make_check()) == 4


def test_make_help_names_every_target_for_people() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(".PHONY:")]
    missing = [name for name in line.split()[1:] if name != "help" and f'"make {name}' not in text]
    assert not missing


@pytest.mark.slow
def test_every_open_names_its_encoding() -> None:
    """Else it is that of the locale. ruff still calls the rule a preview."""
    command = [sys.executable, "-m", "ruff", "check", "--preview", "--select", "PLW1514", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
