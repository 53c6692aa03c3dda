"""The DeepSpeed engine, the one train loop and its checkpoints."""
