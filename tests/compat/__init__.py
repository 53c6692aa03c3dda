"""Checkpoints in plain transformers, old and new, and in lm-eval, compared with this project."""
