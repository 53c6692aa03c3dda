"""Packed rows of tokens: the file format, the order of rows, the batches."""
