"""diffusers, an independent implementation: its U-Nets under published configurations."""

from collections.abc import Sequence

from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel, VQModel

from replication.ldm.autoencoder_networks import Levels


def peer_unet(
    resolution: int,
    channels: int,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    groups: int,
) -> UNet2DModel:
    """The U-Net that google/ddpm-cifar10-32 and its siblings are published for, in our vocabulary of arguments."""
    attends = [resolution >> i in attention for i in range(len(multipliers))]
    return UNet2DModel(
        sample_size=resolution,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=[width * m for m in multipliers],
        layers_per_block=blocks,
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        norm_num_groups=groups,
        norm_eps=1e-6,
        attention_head_dim=None,  # a single head
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )


def peer_autoencoder(
    levels: Levels, image_channels: int, latent_channels: int, codes: int = 0
) -> AutoencoderKL | VQModel:
    """The first stage of LDM in diffusers, with a codebook if `codes`."""
    attends = [2**i in levels.attention for i in range(len(levels.multipliers))]
    options = {
        "in_channels": image_channels,
        "out_channels": image_channels,
        "block_out_channels": [levels.width * m for m in levels.multipliers],
        "layers_per_block": levels.blocks,
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attends],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attends)],
        "norm_num_groups": levels.groups,
        "latent_channels": latent_channels,
    }
    return VQModel(num_vq_embeddings=codes, **options) if codes else AutoencoderKL(**options)


def peer_ldm_unet(
    resolution: int,
    channels: int,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    groups: int,
    head_channels: int,
    classes: int = 0,
    adm_blocks: bool = False,
) -> UNet2DModel:
    """The same under LDM's conventions (CompVis/ldm-celebahq-256); attention is at downsampling factors.

    adm_blocks: scale-shift norms and resampling blocks.
    """
    attends = [1 << i in attention for i in range(len(multipliers))]
    plain = "Resnet{}sampleBlock2D" if adm_blocks else "{}Block2D"
    return UNet2DModel(
        sample_size=resolution,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=[width * m for m in multipliers],
        layers_per_block=blocks,
        down_block_types=["AttnDownBlock2D" if a else plain.format("Down") for a in attends],
        up_block_types=["AttnUpBlock2D" if a else plain.format("Up") for a in reversed(attends)],
        norm_num_groups=groups,
        norm_eps=1e-5,
        attention_head_dim=head_channels,
        downsample_padding=1,
        flip_sin_to_cos=True,
        freq_shift=0,
        num_class_embeds=classes + 1 if classes else None,
        attn_norm_num_groups=groups,  # or else the middle has no norm under scale_shift
        resnet_time_scale_shift="scale_shift" if adm_blocks else "default",
        downsample_type="resnet" if adm_blocks else "conv",
        upsample_type="resnet" if adm_blocks else "conv",
    )


def peer_text_unet(
    resolution: int,
    channels: int,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    groups: int,
    heads: int | Sequence[int],
    context: int,
    depth: int | Sequence[int] = 1,
    pooled: int = 0,
    numbers: int = 0,
) -> UNet2DConditionModel:
    """Stable Diffusion 1's U-Net, where attention_head_dim is by an old mistake the number of heads.

    pooled, numbers: SDXL's, of the vector that goes with the context; its projections are linear layers, as SD 2's are.
    """
    added = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "use_linear_projection": True,
        "projection_class_embeddings_input_dim": pooled + 256 * numbers,
    }  # fmt: skip
    attends = [1 << i in attention for i in range(len(multipliers))]
    return UNet2DConditionModel(
        sample_size=resolution,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=[width * m for m in multipliers],
        layers_per_block=blocks,
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        norm_num_groups=groups,
        norm_eps=1e-5,
        attention_head_dim=heads,
        cross_attention_dim=context,
        transformer_layers_per_block=depth,
        **(added if numbers else {}),
        downsample_padding=1,
        flip_sin_to_cos=True,
        freq_shift=0,
    )
