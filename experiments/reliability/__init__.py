"""How reliable runs, sweeps and records are: harnesses that try to break them, and count what breaks."""
