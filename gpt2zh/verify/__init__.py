"""Verify what was saved: checkpoints, and resumes that are exact."""
