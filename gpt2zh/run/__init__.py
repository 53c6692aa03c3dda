"""A training run: everything around the train loop."""
