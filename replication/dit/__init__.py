"""Peebles and Xie 2023, "Scalable diffusion models with transformers" (arXiv:2212.09748)."""
