"""Benchmarks: one harness, and one module a question. Run them as `python -m benchmarks.NAME`."""
