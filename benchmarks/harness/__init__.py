"""What all benchmarks share: command line, fresh processes, machine facts, JSON and tables."""
