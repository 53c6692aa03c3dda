"""Ranks: their numbers, stop signals, agreement, logs, and the watch over all of them."""
