"""The plan of a run: everything that is known before torch is imported."""
