"""Shards that a test may damage, and an output folder that is not there yet."""

from plans import run, shards  # noqa: F401
