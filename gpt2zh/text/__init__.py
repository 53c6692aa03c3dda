"""Tokenizers: text to ids and back, without losing a character."""
