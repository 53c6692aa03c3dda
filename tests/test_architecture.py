"""The shape of the code: sizes, docstrings, names. import-linter holds the layers."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import sys
import typing
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("gpt2zh", "data_tools", "launcher")
MODULES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 70

modules = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT)).removesuffix(".py")
)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def test_there_are_modules() -> None:
    assert len(MODULES) > 40


@modules
def test_a_module_says_what_it_is(path: Path) -> None:
    text = ast.get_docstring(tree_of(path))
    assert text and len(text.splitlines()[0]) > 10


@modules
def test_files_and_functions_can_be_overlooked(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= LONGEST_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


@modules
def test_package_files_hold_a_docstring_and_nothing_else(path: Path) -> None:
    if path.name != "__init__.py":
        return
    body = tree_of(path).body[1:]
    names = [t.id for node in body for t in getattr(node, "targets", [])]
    assert len(names) == len(body) and set(names) <= {"__version__"}


@modules
def test_no_module_is_a_drawer_for_everything(path: Path) -> None:
    assert path.stem not in ("utils", "util", "common", "helpers", "misc", "tools")


def test_launcher_scripts_shadow_no_import() -> None:
    """A script's folder comes first in sys.path: launcher/datasets.py would hide `datasets`."""
    scripts = {path.stem for path in (ROOT / "launcher").glob("*.py")}
    assert scripts
    assert not (ROOT / "launcher" / "__init__.py").exists()
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) | {"gpt2zh", "data_tools"}
    assert not scripts & taken


def test_our_packages_shadow_no_standard_module() -> None:
    assert not {"gpt2zh", "data_tools", "launcher"} & set(sys.stdlib_module_names)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def config_classes() -> list[tuple[Path, ast.ClassDef]]:
    """Dataclasses that a command line reads: frozen, keyword only."""
    found = []
    for path in MODULES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
                if "dataclass" in marks and node.name.endswith(("Config", "Options")):
                    assert "frozen=True" in marks and "kw_only=True" in marks, node.name
                    found.append((path, node))
    return found


@pytest.mark.parametrize(("path", "node"), config_classes(), ids=lambda v: getattr(v, "name", ""))
def test_every_config_field_has_a_string_below_it(path: Path, node: ast.ClassDef) -> None:
    """It is the --help; a field that is itself such a class has its own fields explained."""
    kind = getattr(importlib.import_module(module_name(path)), node.name)
    hints = typing.get_type_hints(kind)
    below = [*node.body[1:], None]
    for field, string in zip(node.body, below, strict=True):
        if isinstance(field, ast.AnnAssign) and not dataclasses.is_dataclass(
            hints[field.target.id]
        ):
            text = getattr(getattr(string, "value", None), "value", None)
            assert isinstance(text, str) and text.endswith("."), ast.unparse(field)


def test_every_config_class_is_known() -> None:
    names = {node.name for _, node in config_classes()}
    assert names >= {"PretrainConfig", "LaunchOptions", "PrepareConfig", "GenerateConfig"}
    assert names >= {"ModelConfig", "TrainConfig", "OptimizerConfig", "SamplingConfig"}
