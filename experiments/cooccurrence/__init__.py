"""arXiv:2410.09605, Training Dynamics of Transformers to Recognize Word Co-occurrence."""
