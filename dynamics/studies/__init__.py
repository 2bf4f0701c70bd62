"""Studies read records: comparisons, claims, tables; experiments/README.md says what a paper's modules have."""
