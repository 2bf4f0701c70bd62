"""What is read from records: comparisons, claims, tables."""
