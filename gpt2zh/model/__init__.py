"""The GPT-2 itself: building it, its loss and its cost."""
