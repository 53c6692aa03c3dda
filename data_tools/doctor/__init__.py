"""`doctor`: what a sample of the corpus says about the hours that would follow."""
