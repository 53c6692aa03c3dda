"""`doctor`: estimate from a sample what a full preparation will lose, need and take."""
