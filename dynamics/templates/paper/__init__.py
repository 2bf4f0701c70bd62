"""A paper: what it states, as figures and claims over records. Start at README.md."""
