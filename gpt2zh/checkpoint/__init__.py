"""Checkpoints: collect, write, read and restore the state of a run."""
