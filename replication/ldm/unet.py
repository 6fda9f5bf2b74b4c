"""The U-Net of latent diffusion: Rombach et al. 2022, appendix E, with the conventions of the official code (ADM's).

cos before sin in the time embedding, divisor half; GroupNorm eps 1e-5; stride-2 convolutions padded by 1 on all sides;
attention in several heads, or a spatial transformer where there is a context. Zero at the start: the last convolution,
the second of every block, the end of every attention; PyTorch's defaults elsewhere. Levels that attend are given as
downsampling factors, as in the published configurations, where they are called attention_resolutions.
"""

from typing import Any

from torch import nn

from replication.layers.conditioning import AddedVector, Encoder, GivenContext
from replication.layers.unet import Attention, UNet
from replication.ldm.transformer import ClassEmbedder, SpatialTransformer, TextTransformer
from replication.registry import MODELS
from replication.types import InputError

EPS = 1e-5


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
    depth: int | list[int] = 1,
    vocabulary: int = 0,
    length: int = 0,
    text_layers: int = 4,
    text_heads: int = 4,
    text_head_channels: int = 0,
    scale_shift: bool = False,
    resampling_blocks: bool = False,
    timestep_scale: float = 1.0,
    pooled: int = 0,
    numbers: int = 0,
    time_width: int = 0,
) -> UNet:
    """LDM's U-Net of any size (Rombach et al. 2022, appendix E).

    attention: downsampling factors of the levels that have it, in so many heads, or in heads of head_channels.
    classes alone: labels are added to the time. context, its width: spatial transformers of `depth` blocks, or of so many
    at each level and in the middle as at the last, attend to it; with `classes` it is made of labels, with `vocabulary` and
    `length` of texts, by a transformer of text_layers blocks and text_heads heads, of text_head_channels each or sharing the
    width, that is trained along, and with neither it is given, `length` tokens long (0: any).
    scale_shift, resampling_blocks: ADM's blocks, see ResnetBlock; use_scale_shift_norm and resblock_updown in the
    official code. timestep_scale: IDDPM's rescale_timesteps, 1000/T. time_width: the number of the time's sinusoids, a
    quarter of its embedding; 0: width. pooled, numbers: SDXL's vector, joined to a context that is given, see AddedVector.
    Raises InputError where an option does not fit the others.
    """
    text = text_layers, text_heads, text_head_channels
    encoder = _context_encoder(context, classes, vocabulary, length, text, pooled + numbers)
    depths = depth if isinstance(depth, list) else [depth] * len(multipliers)
    if len(depths) != len(multipliers):
        raise InputError(
            f"depth = {depths} has {len(depths)} levels, multipliers = {list(multipliers)} {len(multipliers)}"
        )
    factors = [1 << i for i in range(len(multipliers))]
    if odd := set(attention) - set(factors):
        raise InputError(f"attention is at downsampling factors of the levels, {factors}, not at {sorted(odd)}")
    if (heads > 0) == (head_channels > 0):
        raise InputError(f"attention is split by either heads or head_channels, not {heads}, {head_channels}")

    def attend(level: int, c: int) -> nn.Module:
        n = heads or c // head_channels
        if n == 0 or c % n or (head_channels and c != n * head_channels):
            raise InputError(f"attention of {c} channels: heads = {heads}, head_channels = {head_channels}")
        if encoder is None:
            return Attention(c, groups, EPS, n)
        return SpatialTransformer(c, encoder.width, n, groups, depths[level])

    network = UNet(
        resolution,
        channels,
        width,
        multipliers,
        blocks,
        [factor in attention for factor in factors],
        attend,
        eps=EPS,
        cos_first=True,
        pad_all_sides=True,
        scale_shift=scale_shift,
        resampling_blocks=resampling_blocks,
        timestep_scale=timestep_scale,
        time_width=time_width,
        dropout=dropout,
        groups=groups,
        learned_variance=learned_variance,
        classes=0 if encoder else classes,
        encoder=encoder,
        added=AddedVector(pooled, numbers, 4 * (time_width or width)) if pooled + numbers else None,
    )
    for end in [*network.ends, *(m.proj_out for m in network.modules() if isinstance(m, SpatialTransformer))]:
        nn.init.zeros_(end.weight)
        if end.bias is not None:
            nn.init.zeros_(end.bias)
    return network


def _as_before(options: dict[str, Any]) -> dict[str, Any]:
    """An option that came later counts in a key where it is used alone: what was trained keeps its own."""
    later = {"timestep_scale": 1.0, "pooled": 0, "numbers": 0, "time_width": 0, "text_head_channels": 0}
    return {name: value for name, value in options.items() if name not in later or value != later[name]}


ldm_unet.identified = _as_before


def _context_encoder(
    context: int, classes: int, vocabulary: int, length: int, text: tuple[int, int, int], vector: int
) -> Encoder | None:
    """What makes the context of cond; None where there is no context."""
    if vector and (not context or classes or vocabulary):
        raise InputError(
            f"pooled + numbers = {vector} are joined to a context that is given: context alone is to be stated"
        )
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
        return TextTransformer(vocabulary, length, context, *text)
    return GivenContext(context, length, vector) if context else None


@MODELS.register("ldm-celebahq-4", "ldm-ffhq-4", "ldm-bedrooms-4")
def ldm_celebahq_4(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """LDM-4 of CelebA-HQ, FFHQ and LSUN bedrooms, 64x64x3: 274,056,163 parameters (Rombach et al. 2022)."""
    return ldm_unet(64, 3, 224, [1, 2, 3, 4], 2, [8, 4, 2], 0, 32, 32, dropout, learned_variance)


@MODELS.register("ldm-churches-8")
def ldm_churches_8(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """LDM-8 of LSUN churches, 32x32x4, ADM's blocks: 294,966,916 parameters (Rombach et al. 2022: 294M)."""
    options = (dropout, learned_variance)
    return ldm_unet(
        32, 4, 192, [1, 2, 2, 4, 4], 2, [1, 2, 4, 8], 8, 0, 32, *options, scale_shift=True, resampling_blocks=True
    )


@MODELS.register("ldm-imagenet-8")
def ldm_imagenet_8(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Class-conditional LDM-8 of ImageNet, 32x32x4, the label as context (Rombach et al. 2022, cin-ldm-vq-f8).

    The published file has heads of 32 channels and embeds 1000 classes and no null label: it was trained without label
    dropout. Its parameter count is not checked against a published one.
    """
    options = (dropout, learned_variance)
    network = ldm_unet(32, 4, 256, [1, 2, 4], 2, [4, 2, 1], 0, 32, 32, *options, classes=1000, context=512)
    network.context_encoder = ClassEmbedder(1000, 512, null=False)
    return network


@MODELS.register("ldm-imagenet-4")
def ldm_imagenet_4(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Class-conditional LDM-4 of ImageNet, 64x64x3, the label as context (Rombach et al. 2022, cin256-v2).

    400.92 million parameters, the class embedder left out; label 1000 is the null label, as published.
    """
    options = (dropout, learned_variance)
    return ldm_unet(64, 3, 192, [1, 2, 3, 5], 2, [8, 4, 2], 1, 0, 32, *options, classes=1000, context=512)


@MODELS.register("ldm-text-8")
def ldm_text_8(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """LDM-8 of LAION's texts, 32x32x4, with the transformer of 77 BERT tokens that is trained along (Rombach et al. 2022).

    1,415,195,844 parameters, 872,300,484 of them the U-Net's. The published 1.45 billion count the 39 million of a layer of
    logits, which the official file has and nothing reads.
    """
    return ldm_unet(
        32, 4, 320, [1, 2, 4, 4], 2, [4, 2, 1], 8, 0, 32, dropout, learned_variance,
        context=1280, vocabulary=30522, length=77, text_layers=32, text_heads=8, text_head_channels=64,
    )  # fmt: skip


@MODELS.register("sd-v1")
def sd_v1(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Stable Diffusion 1, 64x64x4, on CLIP's 768 features a token: 859,520,964 parameters (Rombach et al. 2022)."""
    return ldm_unet(64, 4, 320, [1, 2, 4, 4], 2, [4, 2, 1], 8, 0, 32, dropout, learned_variance, context=768)


@MODELS.register("sd-v2")
def sd_v2(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """Stable Diffusion 2, 96x96x4, on OpenCLIP's 1024 features a token: 865,910,724 parameters (Rombach et al. 2022)."""
    return ldm_unet(96, 4, 320, [1, 2, 4, 4], 2, [4, 2, 1], 0, 64, 32, dropout, learned_variance, context=1024)


@MODELS.register("sdxl")
def sdxl(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """SDXL base, 128x128x4, on two encoders' 2048 features a token: 2,567,463,684 parameters (Podell et al. 2023).

    cond: Float[B,1+L,2048], as `joined` makes it of the context, the 1280 numbers of the pooled text and the six of sizes.
    """
    return ldm_unet(
        128, 4, 320, [1, 2, 4], 2, [2, 4], 0, 64, 32, dropout, learned_variance,
        context=2048, depth=[0, 2, 10], pooled=1280, numbers=6,
    )  # fmt: skip


@MODELS.register("iddpm-cifar10")
def iddpm_cifar10(dropout: float = 0.3) -> UNet:
    """IDDPM of CIFAR-10 on 4000 times, 32x32x3, with a learned variance (Nichol and Dhariwal 2021; 50M)."""
    options = {"learned_variance": True, "scale_shift": True, "timestep_scale": 0.25}
    return ldm_unet(32, 3, 128, [1, 2, 2, 2], 3, [2, 4], 4, dropout=dropout, **options)


@MODELS.register("iddpm-imagenet64")
def iddpm_imagenet64(dropout: float = 0.0) -> UNet:
    """IDDPM of ImageNet on 4000 times, 64x64x3, with a learned variance (Nichol and Dhariwal 2021; 100M)."""
    options = {"learned_variance": True, "scale_shift": True, "timestep_scale": 0.25}
    return ldm_unet(64, 3, 128, [1, 2, 3, 4], 3, [4, 8], 4, dropout=dropout, **options)


@MODELS.register("iddpm-imagenet64-label")
def iddpm_imagenet64_label(dropout: float = 0.0) -> UNet:
    """The class-conditional one of 270M parameters, whose times are not rescaled (Nichol and Dhariwal 2021)."""
    options = {"learned_variance": True, "scale_shift": True, "classes": 1000}
    return ldm_unet(64, 3, 192, [1, 2, 3, 4], 3, [4, 8], 4, dropout=dropout, **options)


@MODELS.register("iddpm-bedrooms")
def iddpm_bedrooms(dropout: float = 0.0) -> UNet:
    """IDDPM of LSUN bedrooms, 256x256x3, DDPM's blocks with a learned variance (Nichol and Dhariwal 2021; 114M)."""
    return ldm_unet(256, 3, 128, [1, 1, 2, 2, 4, 4], 2, [16], 1, dropout=dropout, learned_variance=True)


@MODELS.register("adm-256")
def adm_256(classes: int = 0, dropout: float = 0.0) -> UNet:
    """ADM of ImageNet (classes = 1000) and LSUN, 256x256x3: 552.8M parameters without classes (Dhariwal and Nichol 2021)."""
    options = {"learned_variance": True, "scale_shift": True, "resampling_blocks": True, "classes": classes}
    return ldm_unet(256, 3, 256, [1, 1, 2, 2, 4, 4], 2, [8, 16, 32], 0, 64, dropout=dropout, **options)


@MODELS.register("adm-128")
def adm_128(dropout: float = 0.0) -> UNet:
    """ADM of ImageNet, 128x128x3, in four heads (Dhariwal and Nichol 2021; 422M)."""
    options = {"learned_variance": True, "scale_shift": True, "resampling_blocks": True, "classes": 1000}
    return ldm_unet(128, 3, 256, [1, 1, 2, 3, 4], 2, [4, 8, 16], 4, dropout=dropout, **options)


@MODELS.register("adm-64")
def adm_64(dropout: float = 0.1) -> UNet:
    """ADM of ImageNet, 64x64x3, on the cosine schedule (Dhariwal and Nichol 2021; 296M)."""
    options = {"learned_variance": True, "scale_shift": True, "resampling_blocks": True, "classes": 1000}
    network = ldm_unet(64, 3, 192, [1, 2, 3, 4], 3, [2, 4, 8], 0, 64, dropout=dropout, **options)
    network.heads_outermost = False  # the official use_new_attention_order
    return network


@MODELS.register("adm-512")
def adm_512(dropout: float = 0.0) -> UNet:
    """ADM of ImageNet, 512x512x3, half as wide as its time's sinusoids (Dhariwal and Nichol 2021; 559M)."""
    options = {"learned_variance": True, "scale_shift": True, "resampling_blocks": True, "classes": 1000}
    multipliers = [1, 2, 2, 4, 4, 8, 8]
    return ldm_unet(512, 3, 128, multipliers, 2, [16, 32, 64], 0, 64, dropout=dropout, time_width=256, **options)
