"""What all verbs share about a folder of shards: its ledger, its files, and how it is written."""
