"""What a first stage is trained with: Rombach et al. 2022, appendix G, equation 25, after VQGAN (Esser et al. 2021).

Pixels (pixel.py), a perceptual distance by name (lpips.py, embedded_features.py), and a discriminator of patches
(patchgan.py) with its losses (adversarial.py). codebook_usage.py measures, it is no loss.
"""
