"""The U-Nets of the published latent diffusion models, and one whose options an experiment sets."""

from replication.layers.given_context import GivenContext
from replication.ldm.class_embedder import ClassEmbedder
from replication.ldm.text_transformer import TextTransformer
from replication.ldm.unet import UNet
from replication.registry import MODELS
from replication.types import InputError


@MODELS.register("ldm-celebahq-4", "ldm-ffhq-4", "ldm-bedrooms-4")
def ldm_celebahq_4(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """LDM-4 of CelebA-HQ, FFHQ and LSUN bedrooms, 64x64x3: 274,056,163 parameters (Rombach et al. 2022)."""
    return UNet(
        64, 3, 224, (1, 2, 3, 4), 2, (8, 4, 2), head_channels=32, dropout=dropout, learned_variance=learned_variance
    )


@MODELS.register("ldm-churches-8")
def ldm_churches_8(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """LDM-8 of LSUN churches, 32x32x4, ADM's blocks: 294,966,916 parameters (Rombach et al. 2022: 294M)."""
    return UNet(
        32,
        4,
        192,
        (1, 2, 2, 4, 4),
        2,
        (1, 2, 4, 8),
        heads=8,
        dropout=dropout,
        learned_variance=learned_variance,
        scale_shift=True,
        resampling_blocks=True,
    )


@MODELS.register("ldm-imagenet-8")
def ldm_imagenet_8(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Class-conditional LDM-8 of ImageNet, 32x32x4, the label as context (Rombach et al. 2022, cin-ldm-vq-f8).

    The published file has heads of 32 channels and embeds 1000 classes; here one more says nothing. Its parameter count
    is not checked against a published one.
    """
    label = ClassEmbedder(1000, 512)
    return UNet(
        32, 4, 256, (1, 2, 4), 2, (4, 2, 1), 0, 32, 32, dropout, learned_variance=learned_variance, encoder=label
    )


@MODELS.register("ldm-imagenet-4")
def ldm_imagenet_4(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Class-conditional LDM-4 of ImageNet, 64x64x3, the label as context (Rombach et al. 2022, cin256-v2).

    400.92 million parameters, the class embedder left out; label 1000 says nothing, as published.
    """
    label = ClassEmbedder(1000, 512)
    return UNet(
        64, 3, 192, (1, 2, 3, 5), 2, (8, 4, 2), 1, 0, 32, dropout, learned_variance=learned_variance, encoder=label
    )


@MODELS.register("sd-v1")
def sd_v1(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Stable Diffusion 1, 64x64x4, on CLIP's 768 features a token: 859,520,964 parameters (Rombach et al. 2022)."""
    text = GivenContext(768)
    return UNet(
        64, 4, 320, (1, 2, 4, 4), 2, (4, 2, 1), 8, 0, 32, dropout, learned_variance=learned_variance, encoder=text
    )


@MODELS.register("ldm-unet")
def ldm_unet(
    resolution: int,
    channels: int,
    width: int,
    multipliers: list[int],
    blocks: int,
    attention: list[int],
    heads: int = 0,
    head_channels: int = 0,
    groups: int = 32,
    dropout: float = 0.0,
    learned_variance: bool = False,
    classes: int = 0,
    context: int = 0,
    depth: int = 1,
    vocabulary: int = 0,
    length: int = 0,
    text_layers: int = 4,
    text_heads: int = 4,
    scale_shift: bool = False,
    resampling_blocks: bool = False,
) -> UNet:
    """An LDM U-Net of any size (Rombach et al. 2022); attention: downsampling factors of the levels that have it.

    classes alone: labels are added to the time. context, its width: spatial transformers of `depth` blocks attend to
    it; with `classes` labels make it, with `vocabulary` and `length` a text transformer of text_layers blocks and
    text_heads heads does, trained along, and with neither it is given, `length` tokens long (0: any). scale_shift,
    resampling_blocks: ADM's blocks.
    """
    encoder = _encoder(context, classes, vocabulary, length, text_layers, text_heads)
    return UNet(
        resolution,
        channels,
        width,
        multipliers,
        blocks,
        attention,
        heads,
        head_channels,
        groups,
        dropout,
        learned_variance,
        classes=0 if encoder else classes,
        encoder=encoder,
        depth=depth,
        scale_shift=scale_shift,
        resampling_blocks=resampling_blocks,
    )


def _encoder(
    context: int, classes: int, vocabulary: int, length: int, layers: int, heads: int
) -> ClassEmbedder | TextTransformer | GivenContext | None:
    if (vocabulary or length) and not context:
        raise InputError(f"vocabulary = {vocabulary} and length = {length} are a context's, and context is 0")
    if classes and (vocabulary or length):
        raise InputError(
            f"labels or texts, not both: classes = {classes}, vocabulary = {vocabulary}, length = {length}"
        )
    if vocabulary and not length:
        raise InputError(f"vocabulary = {vocabulary} needs length, the number of tokens of a text")
    if classes and context:
        return ClassEmbedder(classes, context)
    if vocabulary:
        return TextTransformer(vocabulary, length, context, layers, heads)
    return GivenContext(context, length) if context else None
