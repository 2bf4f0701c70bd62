"""How reliable records are: what is done to them, and how much of it is found."""
