"""The type of token ids in arrays and files: the smallest that holds a vocabulary."""

from __future__ import annotations

import numpy as np

from gpt2zh.config.errors import UserError


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest type that holds every id.

    Raises:
        UserError: No type does.
    """
    if vocab_size <= 65535:
        return np.dtype(np.uint16)
    if vocab_size <= 2**32:
        return np.dtype(np.uint32)
    raise UserError(
        f"the tokenizer has {vocab_size} ids, but a token is stored in 32 bits (at most {2**32}); "
        "use a tokenizer with a smaller vocabulary"
    )
