"""Detect the language of documents by py3langid: a small model that comes with the package.

With zh it drops none of 6,000 poems, 6,000 sung verses, 1,500 classical chapters, 4,000 pieces of
50 characters of these, 1,500 technical articles and 4,000 paragraphs of them, and 0.05 % of 4,000
single turns of dialogues; of English it keeps nothing. Cut into pieces of 300 characters, a quarter
of the technical articles is dropped: lists of links, code and English headers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from data_tools.sources.block import Block

CHARACTERS = 1000
"""Only so many characters of a document are examined."""

CHINESE = frozenset({"zh", "wuu", "yue"})
"""Codes that zh includes: by ISO 639-3, Wu and Cantonese belong to it. The detector takes every
tenth poem for one of them, although no reader would."""

_SURE = 0.02  # without one known feature each of 140 languages has 0.007, Serbian 0.014


class LanguageFilter:
    """Finds the documents that are in other languages than the wanted ones."""

    def __init__(self, languages: str) -> None:
        """Take codes separated by commas, as in the option."""
        wanted = parse_languages(languages)
        self._wanted = frozenset(wanted) | (CHINESE if "zh" in wanted else frozenset())

    def __call__(self, block: Block, rows: np.ndarray) -> np.ndarray:
        """Return which of these documents, (k,), are in another language, (k,) bool."""
        classify = _detector().classify
        found = (classify(_beginning(block, row))[0] for row in rows.tolist())
        return np.fromiter((code not in self._wanted for code in found), bool, len(rows))


def parse_languages(text: str) -> tuple[str, ...]:
    """Split `zh,en` into codes."""
    return tuple(code for code in (part.strip().lower() for part in text.split(",")) if code)


def known_languages() -> tuple[str, ...]:
    """Return the codes that the detector can give."""
    return tuple(_detector().labels)


def _beginning(block: Block, row: int) -> str:
    begin, end = int(block.begins[row]), int(block.ends[row])
    data = block.data[begin : min(end, begin + 4 * CHARACTERS)].tobytes()
    return data.decode("utf-8", "ignore")[:CHARACTERS]  # the cut may go through a character


@lru_cache(maxsize=1)
def _detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_SURE)
