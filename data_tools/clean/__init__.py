"""Change documents, filter them, and find copies, before they are encoded."""
