"""Ranks: who is who, signals, agreement, logs, the watch over all of them."""
