"""Verify saved checkpoints, and that a resume gives exactly the same run."""
