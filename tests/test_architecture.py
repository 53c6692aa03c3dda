"""The shape of the code: sizes, docstrings, names, and where tests lie.

import-linter holds the layers.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import sys
import typing
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gpt2zh", "data_tools")
FOLDERS = (*PACKAGES, "launcher", "benchmarks")
MODULES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 299, 59, 6

# What was larger when the limits came. Do not add to these lists: take away from them.
LONGER_FILES: dict[str, int] = {}
LONGER_FUNCTIONS: dict[str, int] = {}
MORE_PARAMETERS = {
    "gpt2zh/model/attention.py: causal_attention": 7,  # transformers passes them so
}

# Tests of a whole run, an act or a promise of several modules, named after what they test.
WHOLE_RUNS = {
    "tests/acts/test_new_act.py",
    "tests/checkpoint/test_damage.py",
    "tests/checkpoint/test_elastic.py",
    "tests/data_tools/prepare/test_append.py",
    "tests/data_tools/prepare/test_survival.py",
    "tests/data_tools/sources/test_real_data.py",
    "tests/data_tools/test_prepare_errors.py",
    "tests/plan/test_allowed_changes.py",
    "tests/plan/test_optimizer_kind.py",
    "tests/run/test_ending.py",
    "tests/run/test_interrupted.py",
    "tests/train/test_muon_runs.py",
}

# Modules without a test of their own name: those that only declare. Do not add others.
UNTESTED_BY_NAME = {
    "data_tools/config.py",
    "data_tools/doctor/options.py",
    "data_tools/report/options.py",
    "data_tools/sources/options.py",
    "gpt2zh/acts/options.py",
    "gpt2zh/config/schema.py",
    "gpt2zh/data/training_data.py",
    "gpt2zh/verify/options.py",
    "gpt2zh/ranks/peers.py",
    "gpt2zh/text/kernels/scan.py",
}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def test_there_are_modules() -> None:
    assert len(MODULES) > 40


def test_a_module_says_what_it_is() -> None:
    texts = {place(path): ast.get_docstring(tree_of(path)) for path in MODULES}
    assert [
        name for name, text in texts.items() if len((text or "").partition("\n")[0]) <= 10
    ] == []


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield "file: name", the function, and whether it stands in a class."""
    for node in ast.walk(tree_of(path)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{place(path)}: {child.name}", child, isinstance(node, ast.ClassDef)


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef, is_in_class: bool) -> int:
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (is_in_class and names[:1] in (["self"], ["cls"]))


def check_limit(sizes: dict[str, int], limit: int, exceptions: dict[str, int]) -> None:
    """Assert that nothing is above the limit but the exceptions, none of which has grown."""
    above = {name: size for name, size in sizes.items() if size > limit}
    grown = {name: size for name, size in above.items() if size > exceptions.get(name, limit)}
    assert not grown, f"above {limit}: {grown}"
    met = {name for name in exceptions if sizes.get(name, 0) <= limit}
    assert not met, f"within {limit} or gone, so take these out of the exceptions: {sorted(met)}"


def test_files_are_short() -> None:
    sizes = {place(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    check_limit(sizes, LONGEST_FILE, LONGER_FILES)


def test_functions_are_short() -> None:
    sizes: dict[str, int] = {}
    for path in MODULES:
        for name, node, _ in functions(path):
            assert node.end_lineno
            sizes[name] = max(sizes.get(name, 0), node.end_lineno - node.lineno + 1)
    check_limit(sizes, LONGEST_FUNCTION, LONGER_FUNCTIONS)


def test_functions_take_few_parameters() -> None:
    """Many of them mean that a dataclass is missing."""
    sizes: dict[str, int] = {}
    for path in MODULES:
        for name, node, is_in_class in functions(path):
            sizes[name] = max(sizes.get(name, 0), parameters_of(node, is_in_class))
    check_limit(sizes, MOST_PARAMETERS, MORE_PARAMETERS)


@pytest.mark.parametrize(
    ("sizes", "exceptions"),
    [({"a": 7}, {}), ({"a": 9}, {"a": 8}), ({"a": 6}, {"a": 7}), ({}, {"a": 7})],
    ids=["too large", "grown", "small by now", "gone"],
)
def test_a_limit_refuses(sizes: dict[str, int], exceptions: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        check_limit(sizes, 6, exceptions)


def room_of(test: Path) -> Path:
    """Return the folder of code that a folder of tests mirrors."""
    parts = test.relative_to(ROOT / "tests").parts[:-1]
    return ROOT.joinpath(*parts if parts[:1] == ("data_tools",) else ("gpt2zh", *parts))


def lost_tests(tests: Iterable[Path]) -> list[str]:
    """List tests in a room of tests/ whose name is not that of a module or package of that room."""
    lost = []
    for test in tests:
        name = test.stem.removeprefix("test_")
        subject = room_of(test) / ("__main__" if name == "main" else name)
        if test.parent.name == "tests" or not room_of(test).is_dir():
            continue  # not in a room: tests/test_story.py, tests/gpu, tests/slurm, tests/benchmarks
        if not subject.with_suffix(".py").is_file() and not subject.is_dir():
            lost.append(place(test))
    return sorted(lost)


def test_a_test_lies_where_its_module_lies() -> None:
    """A module that moves takes its test with it."""
    assert lost_tests((ROOT / "tests").rglob("test_*.py")) == sorted(WHOLE_RUNS)


def mirror_of(module: Path) -> Path:
    """Return where the test of a module lies: at the same place in the tree of tests."""
    parts = module.relative_to(ROOT).with_suffix("").parts
    room = parts[:-1] if parts[0] == "data_tools" else parts[1:-1]
    return ROOT.joinpath("tests", *room, f"test_{parts[-1].strip('_')}.py")


def untested(modules: Iterable[Path]) -> set[str]:
    """Return the modules of our packages without a test at their mirrored path."""
    ours = (path for path in modules if place(path).split("/")[0] in PACKAGES)
    return {
        place(path) for path in ours if path.stem != "__init__" and not mirror_of(path).is_file()
    }


def test_a_module_has_a_test_of_its_name() -> None:
    found = untested(MODULES)
    new = [place(mirror_of(ROOT / name)) for name in sorted(found - UNTESTED_BY_NAME)]
    assert not new, f"write these tests: {new}"
    met = UNTESTED_BY_NAME - found
    assert not met, f"tested or gone, so take these out of UNTESTED_BY_NAME: {sorted(met)}"


def test_a_module_without_a_test_is_reported() -> None:
    names = ("gpt2zh/text/spans.py", "gpt2zh/text/gone.py", "data_tools/clean/gone.py")
    assert untested(ROOT / name for name in (*names, "benchmarks/gone.py")) == set(names[1:])
    assert place(mirror_of(ROOT / "data_tools/__main__.py")) == "tests/data_tools/test_main.py"


def test_a_test_whose_module_is_gone_is_reported() -> None:
    tests = [ROOT / "tests" / name for name in ("text/test_gone.py", "data_tools/test_gone.py")]
    assert lost_tests(tests) == ["tests/data_tools/test_gone.py", "tests/text/test_gone.py"]


def test_rooms_of_tests_are_rooms_of_the_code() -> None:
    """Else the tests in them would mirror nothing, and nobody would notice."""
    rooms = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    code = {path.name for path in (ROOT / "gpt2zh").iterdir() if path.is_dir()}
    assert rooms - code <= {"benchmarks", "compat", "data_tools", "faults", "gpu", "slurm"}


def test_package_files_hold_a_docstring_and_nothing_else() -> None:
    for path in MODULES:
        if path.name == "__init__.py" and not place(path).startswith("benchmarks/"):
            body = tree_of(path).body[1:]
            names = [t.id for node in body for t in getattr(node, "targets", [])]
            assert len(names) == len(body) and set(names) <= {"__version__"}, place(path)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "misc", "tools"}
    assert [place(path) for path in MODULES if path.stem in drawers] == []


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
