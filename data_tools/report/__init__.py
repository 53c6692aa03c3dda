"""What is in a folder of shards and where it comes from, on the terminal and as a page."""
