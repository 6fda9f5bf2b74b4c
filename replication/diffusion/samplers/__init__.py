"""Samplers, a family per file."""
