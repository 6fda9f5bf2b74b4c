"""Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv:2112.10752), mapped here.

    section 3.1          the first stages, KL and VQ      ldm/first_stages.py, ldm/autoencoder_networks.py
    section 3.1          f = 1, diffusion of pixels       ldm/autoencoder.py         Identity
    appendix G, eq. 25   what first stages learn from     ldm/losses/, training/train_first_stage.py
    appendix G           the scale of latents             ldm/autoencoder.py         Autoencoder.scale
    section 3.2, eq. 2   training on latents              training/data.py
    section 4, app. E    the U-Net, its published sizes   ldm/unet.py, layers/unet.py
    section 3.3, eq. 3   attention to the condition       ldm/transformer.py         SpatialTransformer
    section 4.3.1        the text model, trained along    ldm/transformer.py         TextTransformer; conditions/captions.py,
                                                          conditions/bert_tokens.py
    section 4.3.2        the class embedder of ImageNet   ldm/transformer.py         ClassEmbedder
    section 4.1          the compression sweep, in small  experiments/ldm.toml, profiles cpu and gpu
    Tables 2 and 3       rows and cells                   experiments/ldm.toml, profile paper
    Table 8              first stages by rFID             experiments/published/ldm-first-stages.toml

Published weights and their spellings: ldm/published_weights.py.
"""
