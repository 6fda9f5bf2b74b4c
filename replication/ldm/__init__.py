"""Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv:2112.10752).

Its first stage: autoencoder.py says what one answers, kl.py and vq.py are the two kinds (section 3.1), identity.py is
f = 1, which makes pixel diffusion a latent diffusion; losses/ is what they are trained with.
"""
