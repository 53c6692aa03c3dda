"""`prepare`: files of any kind to packed shards, in parallel, resumable, with a ledger.

plan -> drafts (one per unit of input, in any order, on any machine) -> duplicates are found over
all of them -> shards and manifest.
"""
