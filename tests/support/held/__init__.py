"""Measure the memory that training holds: torch's allocator on a GPU, counting on a CPU."""
