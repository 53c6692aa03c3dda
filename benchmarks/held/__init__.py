"""The memory that training holds, measured: by torch's allocator on a GPU, by counting on a CPU."""
