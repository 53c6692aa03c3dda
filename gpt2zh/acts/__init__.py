"""Acts: what a command does, from its options to its exit code."""
