"""Options for changing and filtering documents, and checks of them.

Nothing heavy is imported here, so that a command line answers at once.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import unicodedata
from dataclasses import dataclass
from typing import Literal

LOOSEST_NEAR = 0.5
"""Smallest threshold of near duplicates; below it, texts with one common passage would be near."""
NEAR_METHOD = "2, candidates are compared"
"""How near duplicates are found. The first method dropped candidates without comparing them; its
shards hold no signatures, and nothing can be appended to them."""


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """What happens to documents before encoding; by default only exact copies are dropped."""

    normalise: Literal["none", "nfc", "nfkc"] = "none"
    """Unicode normal form of the texts: nfc joins accents with their letters; nfkc also replaces
    compatible characters, such as Chinese full-width punctuation by ASCII. The result depends on
    the Unicode version of Python, which the manifest records."""
    simplify: bool = False
    """Convert traditional characters to simplified ones (OpenCC, t2s); distinctions in classical
    texts are lost."""
    min_characters: int = 0
    """Drop documents with fewer characters; 0 drops none."""
    max_characters: int = 0
    """Drop documents with more characters; 0 drops none."""
    max_repetition: float = 1.0
    """Drop documents in which a larger share repeats an earlier part of the same document: whole
    lines or runs of ten characters; 1 drops none. 0.3 is a good value for web pages and keeps
    nearly all poems; songs with a long refrain need 0.5."""
    min_han: float = 0.0
    """Drop documents with a smaller share of Han characters among their letters; 0 drops none.
    0.7 drops other languages, Japanese included; articles full of code or English names need
    0.2."""
    language: str = ""
    """Keep only documents in one of these languages, such as zh or zh,en; empty keeps all. The
    detector (py3langid) reads the first 1000 characters. zh includes wuu and yue, which it finds
    in many poems and classical texts. It often misjudges lists of links, code and very short
    texts: use min_han for those. The whole preparation takes about five times as long with it."""
    exact_duplicates: Literal["drop", "keep"] = "drop"
    """What to do with a document that equals an earlier one. With keep, --append still drops a copy
    that would get into the validation split while the text is in the training split, or the other
    way round, as can happen where blocks of documents are held out."""
    near_duplicates: Literal["keep", "drop", "validation"] = "keep"
    """What to do with a document that nearly equals an earlier one: keep, drop, or validation,
    which drops only held-out documents that nearly equal a training document (with --append also
    new training documents that nearly equal an old held-out one). Where blocks of documents are
    held out instead, documents that may nearly equal another one become training text as a whole.
    Needs room for the texts on the disk until the shards are complete."""
    near_threshold: float = 0.8
    """Smallest similarity of nearly equal documents, 0.5 to 1: shared runs of five characters
    divided by all runs of both (Jaccard). 9 of 10 pairs at the threshold are found and dropped,
    none below it; `near_duplicates-*.parquet` of the shards lists them."""


def clean_faults(config: CleanConfig) -> list[str]:
    """Return the faults of the options, one sentence each."""
    faults = _range_faults(config)
    faults += [
        f"{flag} needs the package {package}, which is not installed; run pip install -e '.[clean]'"
        for flag, package in _needed_packages(config)
        if not _is_installed(package)
    ]
    if config.exact_duplicates == "keep" and config.near_duplicates == "drop":
        faults.append(
            "--exact-duplicates keep contradicts --near-duplicates drop, because a copy is "
            "also nearly equal; drop both, or use --near-duplicates keep or validation"
        )
    if config.language and _is_installed("py3langid"):
        faults += _language_faults(config.language)
    return faults


def describe(config: CleanConfig) -> dict[str, str]:
    """Return the versions of the libraries that the result depends on, by name."""
    versions = {
        package: importlib.metadata.version(package) for _, package in _needed_packages(config)
    }
    if config.normalise != "none" or config.min_han > 0:
        versions["unicode"] = unicodedata.unidata_version
    if config.near_duplicates != "keep":
        versions["near duplicates"] = NEAR_METHOD
    return versions


def _needed_packages(config: CleanConfig) -> list[tuple[str, str]]:
    """Return (flag, package) for each optional package that the options need."""
    needed = []
    if config.simplify:
        needed.append(("--simplify", "opencc"))
    if config.language:
        needed.append(("--language", "py3langid"))
    if config.near_duplicates != "keep":
        needed.append((f"--near-duplicates {config.near_duplicates}", "datasketch"))
    return needed


def _range_faults(config: CleanConfig) -> list[str]:
    faults = []
    for flag, count in (
        ("--min-characters", config.min_characters),
        ("--max-characters", config.max_characters),
    ):
        if count < 0:
            faults.append(
                f"{flag} {count} is not a valid count; use 0 for no limit or a positive number"
            )
    if 0 < config.max_characters < config.min_characters:
        faults.append(
            f"--max-characters {config.max_characters} is below --min-characters "
            f"{config.min_characters}, which would drop every document; exchange them, or use 0 "
            "for no limit"
        )
    for flag, share, sample in (
        ("--max-repetition", config.max_repetition, "0.3"),
        ("--min-han", config.min_han, "0.7"),
    ):
        if not 0 <= share <= 1:
            faults.append(
                f"{flag} {share} is not a valid share; use a number from 0 to 1, such as {sample}"
            )
    if not LOOSEST_NEAR <= config.near_threshold <= 1:
        faults.append(
            f"--near-threshold {config.near_threshold} is out of range; use a similarity from "
            f"{LOOSEST_NEAR} to 1, such as 0.8"
        )
    return faults


def _is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def _language_faults(text: str) -> list[str]:
    from data_tools.clean.language import known_languages, parse_languages

    known = known_languages()
    faults = []
    for code in parse_languages(text):
        if code not in known:
            near = difflib.get_close_matches(code, known, 1)
            cure = f"did you mean {near[0]}?" if near else "use ISO 639 codes such as zh or zh,en"
            faults.append(f"--language has '{code}', which the detector does not know; {cure}")
    return faults if parse_languages(text) else [f"--language '{text}' names no language; use zh"]
