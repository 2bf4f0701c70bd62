"""Sinks and diagonals: what a pattern of attention costs, how training finds it, what it smooths; see README.md."""
