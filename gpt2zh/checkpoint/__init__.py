"""Checkpoints: what is saved, how it is written and read."""
