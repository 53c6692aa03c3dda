"""Options of runs: their fields and defaults, and how they are read and checked."""
