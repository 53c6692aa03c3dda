"""Prepare text for training: CSV files to packed shards, run as `python -m data_tools`."""
