"""What pages and consoles draw with: numbers for readers, plots, HTML templates, progress."""
