"""Spacings, a family per file."""
