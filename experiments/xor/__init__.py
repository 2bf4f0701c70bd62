"""Exactly-one of two words: where the one-layer transformer needs its attention."""
