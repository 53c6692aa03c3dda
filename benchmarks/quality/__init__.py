"""Parts of benchmarks/time_to_loss.py: recipes, held-out text, runs, curves and tables."""
