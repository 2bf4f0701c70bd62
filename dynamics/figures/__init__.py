"""The shared look of figures, and the figures of any sweep."""
