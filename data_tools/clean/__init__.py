"""What may happen to a document before it is encoded: changed, filtered, or found to be a copy."""
