"""Peebles and Xie 2023, "Scalable diffusion models with transformers" (arXiv:2212.09748), mapped to this code.

    section 3.1          eps and the learned variance     diffusion/objectives/bound.py, diffusion/forward.py
    section 3.1          classifier-free guidance         diffusion/guidance.py (channels = "dit" is the official code's)
    section 3.2, fig. 4  patches and their positions      dit/model.py      PatchEmbedding, sincos_positions
    section 3.2, fig. 3  the four block designs           dit/blocks.py     BLOCKS
    section 3.2          time and label embeddings        dit/model.py      TimestepEmbedder, LabelEmbedder
    section 3.2          the transformer decoder          dit/model.py      FinalLayer
    Table 1              S, B, L, XL with patch 8, 4, 2   dit/model.py      SIZES
    Table 4              parameters and multiply-adds     cost.py (counted)
    section 4            250 ancestral steps              diffusion/spacings/strided.py, diffusion/samplers/first_order.py
    section 5, fig. 5-8  block designs, sizes, patches    experiments/dit.toml; beside U-Nets: experiments/scaling.toml

Beyond the paper: QKNorm in dit/blocks.py, dit/mm_dit.py (Esser et al. 2024) and diffusion/objectives/simple.py.
Published weights and their spellings: dit/published_weights.py.
"""
