"""Where a process stands among the others, and how they agree."""
