"""The transition from positional to semantic attention."""
