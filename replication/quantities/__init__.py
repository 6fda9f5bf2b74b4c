"""Exact quantities that claims are about, one per file."""
