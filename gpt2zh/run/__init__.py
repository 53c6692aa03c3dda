"""A training run: what happens around the train loop."""
