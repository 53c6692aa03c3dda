"""The GPT-2: its shape, how it is built and loaded, its attention and its loss."""
