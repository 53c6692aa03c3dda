"""Warm up the server process from which workers are forked: it imports this module.

Compiled code is read from its cache at the first call, which takes most of a second. Done here, it
is done once for all workers, while the work is still being planned.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from data_tools.prepare import draft  # noqa: F401  the workers need it
from data_tools.prepare.pack import take_documents
from data_tools.sources.cut import cut
from data_tools.sources.find import inspect
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader
from gpt2zh.text.kernels.utf8 import blank_documents, count_characters


def warm_up() -> None:
    """Call the compiled functions that every worker calls."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text("content\nx\n")
        options = InputConfig(input=())
        source = inspect(path, options)
        (part,) = cut(source, options, 1 << 30)
        for block in SliceReader(source, part, options):
            blank_documents(block.data, block.begins, block.ends)
            count_characters(block.data, block.begins, block.ends)
    ids = np.zeros(1, np.uint16)
    take_documents(ids, np.ones(1, np.int64), np.ones(1, bool), ids.copy())


warm_up()
