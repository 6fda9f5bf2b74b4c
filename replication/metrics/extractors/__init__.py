"""Feature extractors, one per file, each registered with torch-fidelity under its name."""
