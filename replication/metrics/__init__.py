"""Metrics: thin calls into torch-fidelity, feature extractors, and the uncertainty of each figure."""
