"""What Muon updates, and in which portions: `train.muon` does it, and its costs follow from it."""

from __future__ import annotations

import re

from gpt2zh.config.schema import ModelConfig

ROUNDS = 5
"""Of the polynomial that moves all singular values close to 1 (Jordan)."""
AT_ONCE = 2**24
"""Elements that are turned together: enough to fill a GPU, little beside the model."""

_HIDDEN = re.compile(r"\bh\.\d+\.(?:attn\.(c_attn|c_proj)|mlp\.(?:c_fc|c_proj))\.weight$")


def matrices_in(name: str) -> int:
    """How many matrices for Muon lie side by side in a parameter of a GPT-2; 0 if it is AdamW's."""
    found = _HIDDEN.search(name)
    if found is None:
        return 0
    return 3 if found[1] == "c_attn" else 1


def turned_elements(model: ModelConfig) -> int:
    """Numbers in all the matrices that Muon updates."""
    return 12 * model.layers * model.width**2


def bytes_at_once(elements: int, *, sides: int) -> float:
    """What it takes to turn so many elements of matrices of one shape, in fp32 throughout.

    `train.muon.orthogonal` holds a copy of them, the old and the new step of the iteration, and two
    products of a matrix with its own transpose.

    Args:
        elements: In all these matrices.
        sides: The longer side in units of the shorter one.
    """
    return 4 * (1 + 2 + 2 / sides) * min(AT_ONCE, elements)
