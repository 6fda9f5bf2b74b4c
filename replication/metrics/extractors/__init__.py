"""Feature extractors, a family per file."""
