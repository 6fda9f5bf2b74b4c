"""Conditions: what a network is told about an image besides the time. One per file."""
