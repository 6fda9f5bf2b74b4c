"""Published weights of latent diffusion under our names: U-Nets and first stages, of the official code and of diffusers.

An official checkpoint holds the whole model: `model.diffusion_model.input_blocks.1.0.in_layers.0.weight` is our
`down.0.blocks.0.norm1.weight`. Its moving average, which the paper samples from, is there once more as
`model_ema.diffusion_modelinput_blocks10in_layers0weight`; the class embedder is `cond_stage_model.embedding.weight`, and
the first stage is under `first_stage_model.`, as it is in a file of its own without that. No file holds a scale of latents:
the autoencoder that takes the weights is built with the scaling they were published with.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from replication.layers.unet import Attention, UNet
from replication.layers.weights import (
    DIFFUSERS_BLOCKS,
    DIFFUSERS_UNET,
    Option,
    Options,
    Published,
    Spelling,
    Table,
    Weights,
    by_table,
    renamed,
    under_our_names,
    unet_options,
)
from replication.ldm.autoencoder import SCALES, Autoencoder
from replication.ldm.transformer import ClassEmbedder
from replication.types import InputError

PREFIX = "model.diffusion_model."
AVERAGE = "model_ema."
LABELS = "cond_stage_model.embedding.weight"
FIRST_STAGE = "first_stage_model."

_TRANSFORMER: Table = (  # the same words in both
    (r"\.transformer_blocks\.", ".blocks."),
    (r"\.attn1\.", ".self_attention."),
    (r"\.attn2\.", ".cross_attention."),
    (r"\.ff\.net\.0\.proj\.", ".feed_forward.expand."),
    (r"\.ff\.net\.2\.", ".feed_forward.contract."),
    (r"attention\.to_(q|k|v)\.", r"attention.\1."),
    (r"attention\.to_out\.0\.", "attention.out."),
)
_DIFFUSERS: Table = (
    (r"^class_embedding\.", "label."),
    (r"^(down|up)_blocks\.(\d+)\.\1samplers\.0\.(?!conv\.)", r"\1sample.\2."),  # a block, where not a convolution
)
_OFFICIAL: Table = (
    (r"^time_embed\.", "embed."),
    (r"^label_emb\.", "label."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^middle_block\.0\.", "middle1."),
    (r"^middle_block\.1\.", "middle_attention."),
    (r"^middle_block\.2\.", "middle2."),
    (r"^out\.0\.", "norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".embed."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".shortcut."),
)
_CODEBOOK: Table = ((r"^quantize\.embedding\.", "codebook."),)
_FIRST_STAGE: Table = (
    *_CODEBOOK,
    (r"\.mid\.block_([12])\.", r".middle\1."),
    (r"\.mid\.attn_1\.", ".middle_attention."),
    (r"\.(down|up)\.(\d+)\.\1sample\.conv\.", r".\1sample.\2."),
    (r"\.(down|up)\.(\d+)\.block\.", r".\1.\2.blocks."),
    (r"\.(down|up)\.(\d+)\.attn\.", r".\1.\2.attentions."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"(attentions?\.(?:\d+\.)*)proj_out\.", r"\1out."),
)


# of a `UNet2DModel` or `UNet2DConditionModel`, and of an `AutoencoderKL` or `VQModel`
from_diffusers = by_table((*_DIFFUSERS, *_TRANSFORMER, *DIFFUSERS_UNET))
first_stage_from_diffusers = by_table((*_CODEBOOK, *DIFFUSERS_BLOCKS))


def from_official(weights: Weights, network: UNet) -> dict[str, Tensor]:
    """The U-Net in an official checkpoint's state dict, and its class embedder, as a state dict for this network.

    The moving average is taken where there is one. Tensors of the checkpoint's other parts are passed over. Raises
    InputError, naming a tensor, where one is missing, unexpected or of another shape.
    """
    ema = _averaged(weights)
    table, own = (*_blocks(network), *_OFFICIAL, *_TRANSFORMER), {}
    for name in weights:
        if name.startswith(PREFIX):
            taken = AVERAGE + name.removeprefix("model.").replace(".", "") if ema else name
            if taken not in weights:
                raise InputError(
                    f"weights from the official code: no moving average {taken!r} of {name!r}; others have one"
                )
            own[renamed(name.removeprefix(PREFIX), table)] = weights[taken]
    if isinstance(network.context_encoder, ClassEmbedder) and (labels := weights.get(LABELS)) is not None:
        own["context_encoder.weight"] = labels
    _split_attention(own, network)
    return under_our_names(own, (), network, "the official code")


def _averaged(weights: Weights) -> bool:
    return any(name.startswith(f"{AVERAGE}diffusion_model") for name in weights)


def one_copy(weights: Weights) -> str:
    """What there is to say where a file has no moving average beside the weights."""
    return (
        ""
        if _averaged(weights)
        else "one copy of the weights, taken as it is: whether it is the average, it does not say"
    )


def autoencoder_options(autoencoder: Any) -> Options:
    """Of an `AutoencoderKL` or a `VQModel`. Their scale counts where it is stated and not measured here."""
    groups, scale = autoencoder.decoder.norm_out.num_groups, SCALES[autoencoder.scaling]
    common = {"act_fn": Option("silu", ("silu", "swish")), "norm_num_groups": Option(32, (groups,))}
    if autoencoder.scaling != "std":
        common["scaling_factor"] = Option(scale, (scale,))
    if autoencoder.codebook_size:
        vq = {"norm_type": Option("group", ("group",)), "lookup_from_codebook": Option(False, (False,))}
        return {"VQModel": {**common, **vq}}
    return {"AutoencoderKL": {**common, **{name: Option(None, (None,)) for name in _SHIFTS}}}


_SHIFTS = ("shift_factor", "latents_mean", "latents_std")  # of later models' latents


def _split_attention(weights: dict[str, Tensor], network: UNet) -> None:
    """Plain attention has 1x1 convolutions for linear layers, and q, k and v in one of them, head after head."""
    attentions = [(path, module) for path, module in network.named_modules() if isinstance(module, Attention)]
    for (path, attention), kind in itertools.product(attentions, ("weight", "bias")):
        if (qkv := weights.get(f"{path}.qkv.{kind}")) is not None and len(qkv) == 3 * attention.q.out_features:
            heads = weights.pop(f"{path}.qkv.{kind}").reshape(qkv.shape[:2]).unflatten(0, (attention.heads, 3, -1))
            weights |= {f"{path}.{part}.{kind}": heads[:, i].flatten(0, 1) for i, part in enumerate("qkv")}
        if (out := weights.pop(f"{path}.proj_out.{kind}", None)) is not None:
            weights[f"{path}.out.{kind}"] = out.reshape(out.shape[:2])


def first_stage_from_official(weights: Weights, autoencoder: Any) -> dict[str, Tensor]:
    """The same of an official checkpoint's first stage, in a file of its own or in a whole LDM's.

    The loss's own networks (`loss.`) are left. The original decoder numbers its levels by their factor, ours in the order
    they are run, and its attention's 1x1 convolutions are linear layers here.
    """
    prefix = FIRST_STAGE if any(name.startswith(FIRST_STAGE) for name in weights) else ""
    coarsest, mine = len(autoencoder.decoder.up) - 1, {}
    for name, tensor in weights.items():
        own = name.removeprefix(prefix)
        if name.startswith(prefix) and not own.startswith("loss."):
            own = re.sub(r"^(decoder\.up\.)(\d+)", lambda m: f"{m[1]}{coarsest - int(m[2])}", own)
            linear = ".attn" in own and tensor.shape[2:] == (1, 1)
            mine[own] = tensor[:, :, 0, 0] if linear else tensor
    return under_our_names(mine, _FIRST_STAGE, autoencoder, "the official code")


def _blocks(network: UNet) -> Iterator[tuple[str, str]]:
    """The official code numbers the blocks, the downsamplings and conv_in together, 0, 1, 2, ... on each way."""
    last = len(network.multipliers) - 1
    number = 1
    for i in range(last + 1):
        for j in range(network.blocks):
            yield rf"^input_blocks\.{number}\.0\.", f"down.{i}.blocks.{j}."
            yield rf"^input_blocks\.{number}\.1\.", f"down.{i}.attentions.{j}."
            number += 1
        if i < last:
            yield rf"^input_blocks\.{number}\.0\.(op\.)?", f"downsample.{i}."
            number += 1
    number = 0
    for i, attends in enumerate(reversed(network.attends)):
        for j in range(network.blocks + 1):
            yield rf"^output_blocks\.{number}\.0\.", f"up.{i}.blocks.{j}."
            if attends:
                yield rf"^output_blocks\.{number}\.1\.", f"up.{i}.attentions.{j}."
            number += 1
        if i < last:
            yield rf"^output_blocks\.{number - 1}\.{2 if attends else 1}\.(conv\.)?", f"upsample.{i}."


SPELLINGS = (
    Spelling(UNet, "official", PREFIX, from_official, remark=one_copy),
    Spelling(UNet, "diffusers", "down_blocks.", from_diffusers, unet_options),
    Spelling(Autoencoder, "diffusers", "encoder.down_blocks.", first_stage_from_diffusers, autoencoder_options),
    Spelling(Autoencoder, "official", FIRST_STAGE, first_stage_from_official),
    Spelling(Autoencoder, "official", "encoder.down.", first_stage_from_official),
)
_OFFICIAL_FILES, _HUB = "https://ommer-lab.com/files/latent-diffusion", "https://huggingface.co"
_CODE = "MIT, the repository's; none stated for the file"
WEIGHTS = (
    Published("ldm-celebahq-4", "CelebA-HQ", "official", f"{_OFFICIAL_FILES}/celeba.zip", _CODE),
    Published("ldm-ffhq-4", "FFHQ", "official", f"{_OFFICIAL_FILES}/ffhq.zip", _CODE),
    Published("ldm-bedrooms-4", "LSUN bedrooms", "official", f"{_OFFICIAL_FILES}/lsun_bedrooms.zip", _CODE),
    Published("ldm-churches-8", "LSUN churches", "official", f"{_OFFICIAL_FILES}/lsun_churches.zip", _CODE),
    Published("ldm-imagenet-8", "ImageNet 256", "official", f"{_OFFICIAL_FILES}/cin.zip", _CODE),
    Published("ldm-celebahq-4", "CelebA-HQ", "diffusers", f"{_HUB}/CompVis/ldm-celebahq-256", "Apache-2.0"),
    Published("vq-f4", "its first stage", "diffusers", f"{_HUB}/CompVis/ldm-celebahq-256", "Apache-2.0"),
    Published("sd-v1", "LAION", "diffusers", f"{_HUB}/CompVis/stable-diffusion-v1-4", "CreativeML OpenRAIL-M"),
    Published("kl-f8", "decoder tuned, ft-EMA", "diffusers", f"{_HUB}/stabilityai/sd-vae-ft-ema", "MIT"),
    Published("kl-f8", "decoder tuned, ft-MSE", "diffusers", f"{_HUB}/stabilityai/sd-vae-ft-mse", "MIT"),
    Published("vq-f4", "OpenImages", "official", f"{_OFFICIAL_FILES}/vq-f4.zip", _CODE),
    Published("vq-f8", "OpenImages", "official", f"{_OFFICIAL_FILES}/vq-f8.zip", _CODE),
    Published("kl-f4", "OpenImages", "official", f"{_OFFICIAL_FILES}/kl-f4.zip", _CODE),
    Published("kl-f8", "OpenImages", "official", f"{_OFFICIAL_FILES}/kl-f8.zip", _CODE),
    Published("kl-f16", "OpenImages", "official", f"{_OFFICIAL_FILES}/kl-f16.zip", _CODE),
    Published("kl-f32", "OpenImages", "official", f"{_OFFICIAL_FILES}/kl-f32.zip", _CODE),
)
