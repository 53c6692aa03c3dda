from __future__ import annotations

import numpy as np
import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.text.id_type import token_dtype


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_535, np.uint16), (65_536, np.uint32), (2**32, np.uint32)]
)
def test_smallest_type_is_chosen(vocab_size: int, dtype: type) -> None:
    assert token_dtype(vocab_size) == dtype


def test_vocabulary_beyond_32_bits_is_refused() -> None:
    with pytest.raises(UserError, match=r"4294967297 ids.*32 bits"):
        token_dtype(2**32 + 1)
