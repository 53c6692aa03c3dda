from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import unicodedata

import pytest

from data_tools.clean.options import CleanConfig, clean_faults, describe


def test_the_defaults_are_without_fault_and_need_nothing() -> None:
    assert clean_faults(CleanConfig()) == []
    assert describe(CleanConfig()) == {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"min_characters": -1}, "--min-characters -1 is not a valid count; use 0"),
        ({"max_characters": -5}, "--max-characters -5 is not a valid count; use 0"),
        (
            {"min_characters": 10, "max_characters": 9},
            "--max-characters 9 is below --min-characters 10",
        ),
        (
            {"max_repetition": 1.5},
            "--max-repetition 1.5 is not a valid share; use a number from 0 to 1",
        ),
        ({"max_repetition": float("nan")}, "--max-repetition nan is not a valid share"),
        ({"min_han": -0.1}, "--min-han -0.1 is not a valid share; use a number from 0 to 1"),
        ({"near_threshold": 0.49}, "--near-threshold 0.49 is out of range"),
        ({"near_threshold": 80}, "--near-threshold 80 is out of range; use a similarity from 0.5"),
        (
            {"exact_duplicates": "keep", "near_duplicates": "drop"},
            "--exact-duplicates keep contradicts --near-duplicates drop",
        ),
        ({"language": "zh,zho"}, "--language has 'zho', which the detector does not know"),
        ({"language": "chinese"}, "use ISO 639 codes such as zh"),
        ({"language": " , "}, "--language ' , ' names no language; use zh"),
    ],
)
def test_what_cannot_work_is_told_with_value_rule_and_cure(options: dict, told: str) -> None:
    (fault,) = clean_faults(CleanConfig(**options))
    assert told in fault and "; " in fault


def test_limits_at_their_ends_are_allowed() -> None:
    config = CleanConfig(
        min_characters=5, max_characters=5, max_repetition=0, min_han=1, near_threshold=1
    )
    assert clean_faults(config) == []
    assert clean_faults(CleanConfig(min_characters=5, near_threshold=0.5)) == []
    assert clean_faults(CleanConfig(exact_duplicates="keep", near_duplicates="validation")) == []
    assert clean_faults(CleanConfig(language="zh, EN")) == []


def test_all_faults_are_told_at_once() -> None:
    config = CleanConfig(min_characters=-1, min_han=2, language="klingon")
    assert len(clean_faults(config)) == 3


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = CleanConfig(simplify=True, language="zh", near_duplicates="drop")
    faults = clean_faults(config)
    for package, flag in (
        ("opencc", "--simplify"),
        ("py3langid", "--language"),
        ("datasketch", "--near-duplicates drop"),
    ):
        (fault,) = (fault for fault in faults if package in fault)
        assert fault.startswith(f"{flag} needs") and "pip install -e '.[clean]'" in fault
    assert clean_faults(CleanConfig(min_han=0.5, max_repetition=0.3, normalise="nfc")) == []


def test_the_versions_behind_the_outcome_are_described() -> None:
    version = importlib.metadata.version
    assert describe(CleanConfig(simplify=True, language="zh")) == {
        "opencc": version("opencc"),
        "py3langid": version("py3langid"),
    }
    assert describe(CleanConfig(near_duplicates="validation")) == {
        "datasketch": version("datasketch"),
        "near duplicates": "2, candidates are compared",
    }
    for options in ({"normalise": "nfkc"}, {"min_han": 0.5}):
        assert describe(CleanConfig(**options)) == {"unicode": unicodedata.unidata_version}


@pytest.mark.slow
def test_optional_packages_are_imported_only_when_they_are_asked_for() -> None:
    program = """
import sys
from data_tools.clean.options import CleanConfig, clean_faults
clean_faults(CleanConfig())
assert "numba" not in sys.modules, "the command line would be slow"
from data_tools.clean.cleaner import Cleaner
from data_tools.clean.near import Signer
Cleaner(CleanConfig(max_repetition=0.5, min_han=0.5, normalise="nfc"))
print(sorted({"opencc", "py3langid", "datasketch"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
