"""The document that the repository holds against the one that the code writes."""

from __future__ import annotations

import scaling_table


def test_the_document_is_what_the_code_writes() -> None:
    """Write it again with `python benchmarks/scaling_table.py > docs/scaling.md`."""
    path = scaling_table.ROOT / "docs" / "scaling.md"
    assert path.read_text("utf-8") == scaling_table.document()


def test_the_document_says_that_nothing_was_measured_and_has_every_table() -> None:
    text = scaling_table.document()
    assert "Nothing here was measured on such clusters" in text
    for model in scaling_table.MICRO_BATCH:
        for card in scaling_table.CARDS:
            _, _, part = text.partition(f"### {model}, {card}\n")
            rows = part.partition("\n#")[0].splitlines()
            first = [line.split("|")[1].strip() for line in rows if line.startswith("|")][2:]
            assert first == [f"{gpus:,}" for gpus in scaling_table.GPUS]
