"""diffusers' networks of the configurations of ours, for comparisons with the same weights; it is in the dev extra."""

from torch import nn

from replication.dit.model import DiT
from replication.layers.unet import UNet


def diffusers_unet(network: UNet) -> nn.Module | None:
    """diffusers' network of the same configuration, None where diffusers is not installed (it is in the dev extra)."""
    try:
        from diffusers import UNet2DModel
    except ImportError:
        return None
    return UNet2DModel(
        sample_size=network.resolution,
        in_channels=network.in_channels,
        out_channels=network.in_channels,
        block_out_channels=[network.width * m for m in network.multipliers],
        layers_per_block=network.blocks,
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in network.attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(network.attends)],
        norm_num_groups=network.groups,
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def diffusers_dit(network: DiT) -> nn.Module | None:
    """diffusers' network of the same configuration, its last layers not 0; None where diffusers is not installed.

    Its blocks share one embedder, whose sinusoids have the official divisor, half; diffusers' own is half - 1.
    """
    try:
        from diffusers import DiTTransformer2DModel
    except ImportError:
        return None
    reference = DiTTransformer2DModel(
        num_attention_heads=network.heads,
        attention_head_dim=network.width // network.heads,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_layers=network.depth,
        sample_size=network.resolution,
        patch_size=network.patch,
        num_embeds_ada_norm=network.classes,
        norm_eps=1e-6,
    )
    embedder = reference.transformer_blocks[0].norm1.emb
    embedder.time_proj.downscale_freq_shift = 0
    for block in reference.transformer_blocks:
        block.norm1.emb = embedder
    return reference
