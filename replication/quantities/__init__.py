"""Exact quantities that claims compare, each registered by name."""
