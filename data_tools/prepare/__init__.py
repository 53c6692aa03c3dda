"""`prepare`: convert text files to packed shards, in parallel, resumable, with a ledger.

The stages: plan -> draft (each unit of input, in any order, on any machine) -> decide (find
duplicates over all drafts) -> pack (shards of each unit) -> assemble (manifest, final name).
"""
