"""Files that several processes share: run folders, locks, checksums."""
