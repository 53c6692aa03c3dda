"""What a folder of shards is made of and where it comes from, on the terminal and as a page."""
