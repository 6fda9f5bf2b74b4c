"""Exact denoisers, and what is measured against them."""
