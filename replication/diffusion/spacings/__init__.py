"""Spacings, one per file."""
