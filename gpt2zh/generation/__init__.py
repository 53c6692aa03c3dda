"""Generation with a trained model: token ids in `generate`, text on top of it in `text`."""
