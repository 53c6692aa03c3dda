"""How the parts make one act; only here is everything known."""
