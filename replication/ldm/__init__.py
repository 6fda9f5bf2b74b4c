"""Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv:2112.10752), mapped here.

section 3.1                the first stages, KL and VQ                 autoencoder.py, kl.py, vq.py, identity.py (f = 1)
appendix G, eq. 25         what they are trained with                  losses/, ../training/train_first_stage.py
appendix G                 the scale of latents                        autoencoder.py (Autoencoder.scale)
section 3.2, eq. 2         training on latents                         ../training/data.py, ../training/latent_cache.py
section 4, appendix E      the U-Net                                   unet.py, its published sizes unet_zoo.py
section 3.3, eq. 3         what the attentions hear of a condition     spatial_transformer.py, cross_attention.py
section 4.3.1              the text model trained along                text_transformer.py, ../conditions/text.py
section 4.3.2              the class embedder of ImageNet              class_embedder.py
section 4.1                the compression sweep, in small             ../../experiments/ldm.toml, profiles cpu and gpu
Table 3, the models' list  rows and cells                              ../../experiments/ldm.toml, profile paper
table 8                    first stages by rFID                        ../../experiments/published/ldm-first-stages.toml
(checkpoints)              published weights under our names           published_weights.py, diffusers_autoencoder.py
"""
