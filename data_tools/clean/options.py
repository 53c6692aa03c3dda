"""What may be done to documents before they are encoded: the options, and whether they can work.

Nothing heavy is imported here, so that a command line answers at once.
"""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from typing import Literal

from data_tools.clean.packages import is_installed, missing_fault, version

LOOSEST_NEAR = 0.5
"""Smallest threshold of near duplicates; below it, all texts that share a passage would be near."""


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """What happens to documents between reading and encoding; by default only copies go."""

    normalise: Literal["none", "nfc", "nfkc"] = "none"
    """Unicode form to bring texts into: nfc joins accents with their letters; nfkc also folds
    compatible characters, among them Chinese full-width marks into ASCII. Depends on the Unicode
    version of Python, which the manifest names."""
    simplify: bool = False
    """Turn traditional characters into simplified ones (OpenCC, t2s); distinctions that classical
    texts make are lost."""
    min_characters: int = 0
    """Drop documents with fewer characters; 0 drops none."""
    max_characters: int = 0
    """Drop documents with more characters; 0 drops none."""
    max_repetition: float = 1.0
    """Drop documents of which a larger share repeats an earlier part of the same document, be it
    whole lines or runs of ten characters; 1 drops none. 0.3 is a good value for web pages and
    spares nearly all poems; songs with a long refrain need 0.5."""
    min_han: float = 0.0
    """Drop documents with a smaller share of Han characters among their letters; 0 drops none.
    0.7 drops other languages, Japanese included; articles full of code or English names need
    0.2."""
    language: str = ""
    """Keep only documents that a detector (py3langid, first 1000 characters) takes for one of
    these, such as zh or zh,en; empty keeps all. zh includes wuu and yue, which it calls many poems
    and classical texts. Lists of links, code and texts of a few words are often misjudged: for
    those take min_han instead."""
    exact_duplicates: Literal["drop", "keep"] = "drop"
    """What becomes of a document that equals an earlier one."""
    near_duplicates: Literal["keep", "drop", "validation"] = "keep"
    """What becomes of a document that nearly equals an earlier one: keep, drop, or validation,
    which drops only held-out documents that nearly equal one of training."""
    near_threshold: float = 0.8
    """Similarity from which two documents are nearly equal, 0.5 to 1: shared runs of five
    characters over all of both (Jaccard). 9 of 10 pairs at it are found, fewer below it."""


def clean_faults(config: CleanConfig) -> list[str]:
    """Return what cannot work, with value, rule and cure, one sentence each."""
    faults = _range_faults(config)
    faults += [
        missing_fault(flag, package)
        for flag, package in _needed_packages(config)
        if not is_installed(package)
    ]
    if config.exact_duplicates == "keep" and config.near_duplicates == "drop":
        faults.append(
            "--exact-duplicates keep contradicts --near-duplicates drop, since a copy is also "
            "nearly equal; drop both, or give --near-duplicates keep or validation"
        )
    if config.language and is_installed("py3langid"):
        faults += _language_faults(config.language)
    return faults


def describe(config: CleanConfig) -> dict[str, str]:
    """Return the versions of all that the outcome depends on beside this project, by name."""
    versions = {package: version(package) for _, package in _needed_packages(config)}
    if config.normalise != "none" or config.min_han > 0:
        versions["unicode"] = unicodedata.unidata_version
    return versions


def _needed_packages(config: CleanConfig) -> list[tuple[str, str]]:
    """Return (flag, package) of what the options ask for."""
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
            faults.append(f"{flag} {count} is no count; give 0 for no limit, or more")
    if 0 < config.max_characters < config.min_characters:
        faults.append(
            f"--max-characters {config.max_characters} is below --min-characters "
            f"{config.min_characters}, which would drop every document; exchange them, or give 0 "
            "for no limit"
        )
    for flag, share, sample in (
        ("--max-repetition", config.max_repetition, "0.3"),
        ("--min-han", config.min_han, "0.7"),
    ):
        if not 0 <= share <= 1:
            faults.append(
                f"{flag} {share} is no share; give a number from 0 to 1, such as {sample}"
            )
    if not LOOSEST_NEAR <= config.near_threshold <= 1:
        faults.append(
            f"--near-threshold {config.near_threshold} is out of range; give a similarity from "
            f"{LOOSEST_NEAR} to 1, such as 0.8"
        )
    return faults


def _language_faults(text: str) -> list[str]:
    from data_tools.clean.language import known_languages, parse_languages

    known = known_languages()
    faults = []
    for code in parse_languages(text):
        if code not in known:
            near = difflib.get_close_matches(code, known, 1)
            cure = f"did you mean {near[0]}?" if near else "give ISO 639 codes such as zh or zh,en"
            faults.append(f"--language names '{code}', which the detector does not know; {cure}")
    return faults if parse_languages(text) else [f"--language '{text}' names no language; give zh"]
