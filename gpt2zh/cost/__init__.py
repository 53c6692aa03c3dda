"""What a GPT-2 costs to train: FLOPs, memory, traffic and time. Arithmetic alone, no torch."""
