"""Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv:2112.10752).

    section 4, appendix E      the U-Net                                   ldm/unet.py, its published sizes unet_zoo.py
    section 3.3, eq. 4         what the attentions hear of a condition     ldm/spatial_transformer.py, cross_attention.py
    section 4.3.1              the text model trained along                ldm/text_transformer.py
    section 4.3.2              the class embedder of ImageNet              ldm/class_embedder.py
    (checkpoints)              published weights under our names           ldm/published_weights.py

Of the autoencoders there is so far the f = 1 case, which makes pixel diffusion a latent diffusion: identity.py.
"""
