"""Prepare text for training: `python -m data_tools` converts text files to packed shards."""
