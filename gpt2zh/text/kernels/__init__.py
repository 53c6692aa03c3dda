"""Compiled loops over UTF-8 bytes; what they need is prepared in Python beside this package."""
