"""The parts of benchmarks/throughput.py: arms, how they are measured, and what is made of it."""
