"""What a recipe is worth: from text to bits per character of held-out text."""
