"""Harnesses that try to break runs, sweeps and records, and count what breaks."""
