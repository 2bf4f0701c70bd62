"""Attention from parts: what each of them can learn."""
