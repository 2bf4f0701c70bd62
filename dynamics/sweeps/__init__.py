"""Many experiments: members, who runs them, where, and what they gave."""
