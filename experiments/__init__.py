"""One package for each paper: its theory, claims and figures, computed from records."""
