"""What a first stage is trained with: Rombach et al. 2022, appendix G, equation 25, after VQGAN (Esser et al. 2021).

Pixels and perceptual distances by name (distances.py, lpips.py), and a discriminator of patches with
its losses (adversarial.py).
"""
