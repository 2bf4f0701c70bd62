"""arXiv:2402.02098, Self-attention Networks Localize When QK-eigenspectrum Concentrates."""
