"""Compiled loops over UTF-8 bytes; modules of the package above prepare their tables."""
