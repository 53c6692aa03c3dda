"""The train loop, one step of it, the DeepSpeed engine and the optimizers."""
