"""Estimate the cost of training a GPT-2: memory, traffic and time. Pure arithmetic, no torch."""
