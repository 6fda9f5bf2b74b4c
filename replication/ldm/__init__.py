"""Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv:2112.10752).

So far the f = 1 case of its autoencoders, which makes pixel diffusion a latent diffusion: identity.py.
"""
