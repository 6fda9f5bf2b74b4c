"""Published weights of latent diffusion under our names: U-Nets and first stages, of the official code and of diffusers.

An official checkpoint holds the whole model: `model.diffusion_model.input_blocks.1.0.in_layers.0.weight` is our
`down.0.blocks.0.norm1.weight`. Its moving average, which the paper samples from, is there once more as
`model_ema.diffusion_modelinput_blocks10in_layers0weight`; the class embedder is `cond_stage_model.embedding.weight`, the text
transformer is under `cond_stage_model.transformer.`, and the first stage under `first_stage_model.`, as it is in a file of its
own without that. No file holds a scale of latents: the autoencoder that takes the weights is built with the scaling they
were published with.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.unet import Attention, DownPath, UNet
from replication.layers.weights import (
    DIFFUSERS_BLOCKS,
    DIFFUSERS_UNET,
    HUB,
    LEVELS,
    TRANSFORMER,
    Option,
    Options,
    Published,
    Spelling,
    Table,
    Weights,
    as_run,
    by_table,
    place_by,
    projections,
    renamed,
    under_our_names,
    unet_from_diffusers,
)
from replication.ldm.autoencoder import SCALES, Autoencoder
from replication.ldm.transformer import ClassEmbedder, CrossAttention, TextTransformer
from replication.types import InputError

PREFIX = "model.diffusion_model."
AVERAGE = "model_ema."
LABELS = "cond_stage_model.embedding.weight"
TEXT, LOGITS = "cond_stage_model.transformer.", "to_logits."  # the layer of logits is read by nothing
FIRST_STAGE = "first_stage_model."

_OFFICIAL: Table = (
    (r"^time_embed\.", "embed."),
    (r"^label_emb\.0\.0\.", "added.first."),
    (r"^label_emb\.0\.2\.", "added.second."),
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
_FIRST_STAGE: Table = (*_CODEBOOK, *LEVELS)


# LDMBertModel of diffusers, LDM's text transformer
_LDM_BERT: Table = (
    (r"^model\.embed_tokens\.", "context_encoder.token."),
    (r"^model\.embed_positions\.weight$", "context_encoder.position"),
    (r"^model\.layer_norm\.", "context_encoder.norm."),
    (r"^model\.layers\.(\d+)\.self_attn_layer_norm\.", r"context_encoder.blocks.\1.norm1."),
    (r"^model\.layers\.(\d+)\.self_attn\.(q|k|v|out)_proj\.", r"context_encoder.blocks.\1.attention.\2."),
    (r"^model\.layers\.(\d+)\.final_layer_norm\.", r"context_encoder.blocks.\1.norm2."),
    (r"^model\.layers\.(\d+)\.fc1\.", r"context_encoder.blocks.\1.expand."),
    (r"^model\.layers\.(\d+)\.fc2\.", r"context_encoder.blocks.\1.contract."),
)
_DIFFUSERS_STAGE: Table = (*_CODEBOOK, *DIFFUSERS_BLOCKS)
first_stage_from_diffusers = by_table(_DIFFUSERS_STAGE)  # of an `AutoencoderKL` or `VQModel`


def from_official(weights: Weights, network: UNet) -> dict[str, Tensor]:
    """The U-Net in an official checkpoint's state dict, and its class embedder or text transformer, for this network.

    The moving average is taken where there is one. Tensors of the checkpoint's other parts are passed over. ADM's and IDDPM's
    own files are the U-Net alone, and have no row for a null label: ours is zero then. Raises InputError, naming a tensor,
    where one is missing, unexpected or of another shape.
    """
    ema, whole = _averaged(weights), any(name.startswith(PREFIX) for name in weights)
    parts: dict[str, Tensor] = {} if whole else dict(weights)  # ADM's and IDDPM's code has nothing but the U-Net
    for name in weights if whole else ():
        if name.startswith(PREFIX):
            taken = AVERAGE + name.removeprefix("model.").replace(".", "") if ema else name
            if taken not in weights:
                raise InputError(
                    f"weights from the official code: no moving average {taken!r} of {name!r}; others have one"
                )
            parts[name.removeprefix(PREFIX)] = weights[taken]
    own = official_parts(parts, network)
    if isinstance(network.context_encoder, ClassEmbedder) and (labels := weights.get(LABELS)) is not None:
        own["context_encoder.weight"] = labels
    if isinstance(text := network.context_encoder, TextTransformer):
        table = tuple(_of_text(len(text.blocks)))
        own |= {renamed(n, table): t for n, t in weights.items() if n.startswith(TEXT) and LOGITS not in n}
    if (
        network.label is not None
        and (labels := own.get("label.weight")) is not None
        and len(labels) == network.label.classes
    ):
        own["label.weight"] = F.pad(labels, (0, 0, 0, len(network.label.weight) - len(labels)))
    return under_our_names(projections(own), (), network, "the official code")


def from_diffusers(weights: Weights, network: UNet) -> dict[str, Tensor]:
    """A U-Net's state dict, with that of the text transformer where the network has one; raises as under_our_names does."""
    own = {renamed(name, _LDM_BERT): tensor for name, tensor in weights.items() if not name.startswith(LOGITS)}
    text = network.context_encoder
    if isinstance(text, TextTransformer) and not any(name.startswith("context_encoder.") for name in own):
        raise InputError(f"weights from diffusers: no text transformer, which is looked for in ../{text.beside}")
    return unet_from_diffusers(own, network)


def official_parts(weights: Weights, network: DownPath) -> dict[str, Tensor]:
    """A U-Net's tensors, or those of one that only goes down, in the official code's words: under our names."""
    table = (*_blocks(network), *_OFFICIAL, *TRANSFORMER)
    own = {renamed(name, table): tensor for name, tensor in weights.items()}
    _split_attention(own, network)
    return own


def of_adm(weights: Weights) -> str:
    """What there is to say of weights that know no null label."""
    return (
        ""
        if "label_emb.weight" not in weights
        else "no null label was trained: it is zero here, and guidance means nothing"
    )


def _averaged(weights: Weights) -> bool:
    return any(name.startswith(f"{AVERAGE}diffusion_model") for name in weights)


def one_copy(weights: Weights) -> str:
    """What there is to say where a file has no moving average beside the weights."""
    return (
        ""
        if _averaged(weights)
        else "one copy of the weights, taken as it is: whether it is the average, it does not say"
    )


def official_options(network: UNet) -> Options:
    """Of a config.yaml's U-Net: how its attention is split, by the number of heads or by their width."""
    attentions = [module for module in network.modules() if isinstance(module, Attention | CrossAttention)]
    found = {(attention.q.in_features, attention.heads) for attention in attentions}
    number, width = {heads for _, heads in found}, {channels // heads for channels, heads in found}

    def alike(values: set[int]) -> tuple[object, ...]:
        return (*values, None) if len(values) == 1 else (None,)

    heads = {"num_heads": Option(None, alike(number)), "num_head_channels": Option(None, alike(width))}
    return {"UNetModel": heads} if found else {}


def autoencoder_options(autoencoder: Any) -> Options:
    """Of an `AutoencoderKL` or a `VQModel`. Their scale counts where it is stated and not measured here."""
    groups, scale = autoencoder.decoder.norm_out.num_groups, SCALES[autoencoder.scaling]
    common = {"act_fn": Option("silu", ("silu", "swish")), "norm_num_groups": Option(32, (groups,))}
    if autoencoder.scaling != "std":
        common["scaling_factor"] = Option(scale, (scale,))
    if autoencoder.codebook_size:
        vq = {"norm_type": Option("group", ("group",)), "lookup_from_codebook": Option(False, (False,))}
        return {"VQModel": {**common, **vq}}
    shift = {"shift_factor": Option(None, (autoencoder.shift or None,))}
    return {"AutoencoderKL": {**common, **shift, **{name: Option(None, (None,)) for name in _WHITENED}}}


def autoencoder_shapes(autoencoder: Any) -> dict[str, object]:
    """What such a class is built from besides those options; a scale that was measured is one of them."""
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    down = ["AttnDownEncoderBlock2D" if level.attends else "DownEncoderBlock2D" for level in encoder.down]
    up = ["AttnUpDecoderBlock2D" if level.attends else "UpDecoderBlock2D" for level in decoder.up]
    sizes = {
        "in_channels": autoencoder.image_channels,
        "out_channels": autoencoder.image_channels,
        "latent_channels": autoencoder.latent_channels,
        "block_out_channels": [level.blocks[-1].conv2.out_channels for level in encoder.down],
        "layers_per_block": len(encoder.down[0]),
        "down_block_types": down,
        "up_block_types": up,
    }
    if isinstance(autoencoder.quant_conv, nn.Identity):
        sizes |= {"use_quant_conv": False, "use_post_quant_conv": False}
    if autoencoder.scaling == "std" and not autoencoder.scale.is_meta:
        sizes["scaling_factor"] = float(autoencoder.scale)
    return {**sizes, "num_vq_embeddings": autoencoder.codebook_size} if autoencoder.codebook_size else sizes


_WHITENED = ("latents_mean", "latents_std")  # of later models' latents


def _split_attention(weights: dict[str, Tensor], network: DownPath) -> None:
    """Plain attention has 1x1 convolutions for linear layers, and q, k and v in one of them, mostly head after head."""
    attentions = [(path, module) for path, module in network.named_modules() if isinstance(module, Attention)]
    for (path, attention), kind in itertools.product(attentions, ("weight", "bias")):
        if (qkv := weights.get(f"{path}.qkv.{kind}")) is not None and len(qkv) == 3 * attention.q.out_features:
            order = (attention.heads, 3, -1) if network.heads_outermost else (3, attention.heads, -1)
            parts = weights.pop(f"{path}.qkv.{kind}").reshape(qkv.shape[:2]).unflatten(0, order)
            parts = parts.movedim(1, 0) if network.heads_outermost else parts
            weights |= {
                f"{path}.{letter}.{kind}": part.flatten(0, 1) for letter, part in zip("qkv", parts, strict=True)
            }
        if (out := weights.pop(f"{path}.proj_out.{kind}", None)) is not None:
            weights[f"{path}.out.{kind}"] = out.reshape(out.shape[:2])


def first_stage_from_official(weights: Weights, autoencoder: Any) -> dict[str, Tensor]:
    """The same of an official checkpoint's first stage, in a file of its own or in a whole LDM's.

    The loss's own networks (`loss.`) are left.
    """
    prefix = FIRST_STAGE if any(name.startswith(FIRST_STAGE) for name in weights) else ""
    own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    own = {name: tensor for name, tensor in own.items() if not name.startswith("loss.")}
    return under_our_names(as_run(own, len(autoencoder.decoder.up)), _FIRST_STAGE, autoencoder, "the official code")


def _of_text(blocks: int) -> Iterator[tuple[str, str]]:
    """x-transformers' words: attentions and feed-forwards are counted together, each with its norm before it."""
    yield rf"^{TEXT}token_emb\.", "context_encoder.token."
    yield rf"^{TEXT}pos_emb\.emb\.weight$", "context_encoder.position"
    yield rf"^{TEXT}norm\.", "context_encoder.norm."
    for i in range(blocks):
        attention, forward = (rf"^{TEXT}attn_layers\.layers\.{2 * i + j}\." for j in (0, 1))
        yield rf"{attention}0\.", f"context_encoder.blocks.{i}.norm1."
        yield rf"{attention}1\.to_(q|k|v|out)\.", rf"context_encoder.blocks.{i}.attention.\1."
        yield rf"{forward}0\.", f"context_encoder.blocks.{i}.norm2."
        yield rf"{forward}1\.net\.0\.0\.", f"context_encoder.blocks.{i}.expand."
        yield rf"{forward}1\.net\.2\.", f"context_encoder.blocks.{i}.contract."


def _blocks(network: DownPath) -> Iterator[tuple[str, str]]:
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
    Spelling(UNet, "official", PREFIX, from_official, official_options, remark=one_copy),
    Spelling(UNet, "official", "input_blocks.", from_official, remark=of_adm),
    DIFFUSERS_UNET._replace(convert=from_diffusers),
    Spelling(
        Autoencoder,
        "diffusers",
        "encoder.down_blocks.",
        first_stage_from_diffusers,
        autoencoder_options,
        shapes=autoencoder_shapes,
        place=place_by(_DIFFUSERS_STAGE),
    ),
    Spelling(Autoencoder, "official", FIRST_STAGE, first_stage_from_official),
    Spelling(Autoencoder, "official", "encoder.down.", first_stage_from_official),
)
_FILES = "https://ommer-lab.com/files/latent-diffusion"
_CODE = "MIT, the repository's; none stated for the file"


def _zoo(name: str, part: str, what: str, file: str, dataset: str = "", **more: Any) -> Published:
    of: dict[str, Any] = {"dataset": dataset, "resolution": 256, "schedule": "scaled_linear"} if dataset else {}
    return Published(name, part, what, "official", f"{_FILES}/{file}", _CODE, **of, **more)


def _stage(name: str, what: str) -> Published:
    return _zoo(f"ldm-{name}", name, what, f"{name}.zip", stages=(f"ldm:{name}",))


def _adm(name: str, part: str, what: str, file: str, **more: Any) -> Published:
    """Of improved-diffusion's and guided-diffusion's README."""
    url, licence = (
        "https://openaipublic.blob.core.windows.net/diffusion",
        "MIT, the repository's; a model card speaks of their use",
    )
    return Published(name, part, what, "official", f"{url}/{file}", licence, **more)


def _hub(name: str, part: str, what: str, model: str, licence: str, **more: Any) -> Published:
    return Published(name, part, what, "diffusers", f"{HUB}{model}", licence, **more)


_SD, _FACES, _CIN = "CreativeML OpenRAIL-M", "CompVis/ldm-celebahq-256", 1_827_378_153
_TEXT, _TEXT_CODE = "CompVis/ldm-text2im-large-256", f"{_FILES}/nitro/txt2img-f8-large/model.ckpt"
_LAION = "LAION-400M; its data nobody has: rows are on own photographs"
_AT_256: dict[str, Any] = {"dataset": "own-images", "resolution": 256, "schedule": "scaled_linear"}
_OF_FACES: dict[str, Any] = {"dataset": "celebahq-256", "resolution": 256, "schedule": "scaled_linear"}
_SDXL, _PLUS, _SDXL_FILE = (
    "stabilityai/stable-diffusion-xl-base-1.0",
    "CreativeML OpenRAIL++-M",
    "sd_xl_base_1.0.safetensors",
)
_OWN = "SDXL base; its data nobody has: rows are on own photographs"
_AT_1024: dict[str, Any] = {"dataset": "own-images", "resolution": 1024, "schedule": "scaled_linear"}
_MSE: dict[str, Any] = {
    "size": 334_643_276,
    "sha256": "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
}
_COSINE: dict[str, Any] = {"schedule": "cosine", "objective": "hybrid"}
_ADM: dict[str, Any] = {"dataset": "imagenet-256", "objective": "hybrid"}
_IMAGENET_64: dict[str, Any] = {"dataset": "imagenet-256", "resolution": 64, **_COSINE}
WEIGHTS = (
    _zoo("ldm-celebahq", "ldm-celebahq-4", "CelebA-HQ", "celeba.zip", "celebahq-256"),
    _zoo("ldm-ffhq", "ldm-ffhq-4", "FFHQ", "ffhq.zip", "ffhq-256"),
    _zoo("ldm-bedrooms", "ldm-bedrooms-4", "LSUN bedrooms", "lsun_bedrooms.zip", "lsun-bedrooms-256"),
    _zoo("ldm-churches", "ldm-churches-8", "LSUN churches", "lsun_churches.zip", "lsun-churches-256", objective="simple-l1"),
    _zoo("ldm-imagenet-8", "ldm-imagenet-8", "ImageNet 256", "cin.zip", "imagenet-256"),
    _zoo("ldm-imagenet-4", "ldm-imagenet-4", "ImageNet 256, LDM-4-G", "nitro/cin/model.ckpt", "imagenet-256", size=_CIN),
    _hub("ldm-celebahq-diffusers", "ldm-celebahq-4", "CelebA-HQ", _FACES, "Apache-2.0", **_OF_FACES, folder="unet"),
    _hub("ldm-celebahq-vq-f4", "vq-f4", "of LDM's CelebA-HQ", _FACES, "Apache-2.0", stages=("ldm:vq-f4",), folder="vqvae"),
    _hub("ldm-text", "ldm-text-8", _LAION, _TEXT, "Apache-2.0", **_AT_256, folder="unet", also="bert"),
    _hub("ldm-text-kl-f8", "kl-f8", "of LDM's text-to-image", _TEXT, "Apache-2.0", stages=("ldm:kl-f8-text",), folder="vqvae"),
    Published("ldm-text-official", "ldm-text-8", f"{_LAION}; 5.7 GB", "official", _TEXT_CODE, _CODE, **_AT_256),
    _hub("sd-v1-4", "sd-v1", "LAION", "CompVis/stable-diffusion-v1-4", _SD, folder="unet"),
    _hub("sd-v1-5", "sd-v1", "LAION", "stable-diffusion-v1-5/stable-diffusion-v1-5", _SD, folder="unet"),
    _hub("sdxl-base", "sdxl", _OWN, _SDXL, _PLUS, **_AT_1024, folder="unet"),
    Published("sdxl-base-official", "sdxl", _OWN, "official", f"{HUB}{_SDXL}", _PLUS, **_AT_1024, file=_SDXL_FILE),
    _hub("sd3-vae", "kl-f8-c16", "Stable Diffusion 3's", "stabilityai/stable-diffusion-3-medium-diffusers",
         "Stability AI Community License", folder="vae"),
    _hub("flux-vae", "kl-f8-c16", "FLUX's (scaling = flux)", "black-forest-labs/FLUX.1-schnell", "Apache-2.0", folder="vae"),
    _hub("sdxl-vae", "kl-f8", "SDXL's", "stabilityai/sdxl-vae", "MIT", stages=("sdxl:kl-f8",)),
    _hub("sd-v1-vae", "kl-f8", "Stable Diffusion 1", "CompVis/stable-diffusion-v1-4", _SD, stages=("dit:kl-f8",), folder="vae"),
    _hub("sd-vae-ft-ema", "kl-f8", "ft-EMA", "stabilityai/sd-vae-ft-ema", "MIT", stages=("dit:kl-f8-ema",)),
    _hub("sd-vae-ft-mse", "kl-f8", "ft-MSE", "stabilityai/sd-vae-ft-mse", "MIT", stages=("dit:kl-f8-mse",), **_MSE),
    _stage("vq-f4", "OpenImages"),
    _stage("vq-f8", "OpenImages"),
    _stage("vq-f8-n256", "OpenImages, 256 codes")._replace(part="vq-f8"),
    _zoo("ldm-vq-f16", "vq-f16", "OpenImages", "vq-f16.zip", stages=("ldm:vq-f16",)),
    _stage("kl-f4", "OpenImages"),
    _stage("kl-f8", "OpenImages"),
    _stage("kl-f16", "OpenImages"),
    _stage("kl-f32", "OpenImages"),
    _adm("iddpm-cifar10", "iddpm-cifar10", "CIFAR-10, L_hybrid, 4000 times, cosine",
         "march-2021/cifar10_uncond_50M_500K.pt", dataset="cifar10", resolution=32, steps=500_000, **_COSINE),
    _adm("iddpm-cifar10-vlb", "iddpm-cifar10", "CIFAR-10, L_vlb, 4000 times, cosine",
         "march-2021/cifar10_uncond_vlb_50M_500K.pt"),
    _adm("iddpm-imagenet64", "iddpm-imagenet64", "ImageNet 64, L_hybrid, 4000 times, cosine",
         "march-2021/imagenet64_uncond_100M_1500K.pt", **_IMAGENET_64, steps=1_500_000),
    _adm("iddpm-imagenet64-vlb", "iddpm-imagenet64", "ImageNet 64, L_vlb, 4000 times, cosine",
         "march-2021/imagenet64_uncond_vlb_100M_1500K.pt"),
    _adm("iddpm-imagenet64-label", "iddpm-imagenet64-label", "ImageNet 64 by labels, 4000 times, cosine",
         "march-2021/imagenet64_cond_270M_250K.pt", **_IMAGENET_64, steps=250_000),
    _adm("iddpm-bedrooms", "iddpm-bedrooms", "LSUN bedrooms, 1000 times, linear", "march-2021/lsun_uncond_100M_2400K_bs64.pt"),
    _adm("iddpm-bedrooms-1200k", "iddpm-bedrooms", "LSUN bedrooms, 1000 times, linear, rate 1e-4",
         "march-2021/lsun_uncond_100M_1200K_bs128.pt"),
    _adm("adm-imagenet64", "adm-64", "ImageNet 64 by labels, cosine", "jul-2021/64x64_diffusion.pt", **_ADM, resolution=64,
         schedule="cosine", steps=540_000),
    _adm("adm-imagenet256", "adm-256", "ImageNet 256 by labels (classes = 1000)", "jul-2021/256x256_diffusion.pt", **_ADM,
         resolution=256, steps=1_980_000),
    _adm("adm-imagenet256-uncond", "adm-256", "ImageNet 256", "jul-2021/256x256_diffusion_uncond.pt"),
    _adm("adm-imagenet128", "adm-128", "ImageNet 128 by labels", "jul-2021/128x128_diffusion.pt", **_ADM, resolution=128,
         steps=4_360_000),
    _adm("adm-imagenet512", "adm-512", "ImageNet 512 by labels", "jul-2021/512x512_diffusion.pt", **_ADM, resolution=512,
         steps=1_940_000),
    *(_adm(f"adm-classifier-{side}", f"adm-classifier-{side}", f"a classifier of noisy ImageNet {side}, which guides",
           f"jul-2021/{side}x{side}_classifier.pt") for side in (64, 128, 256, 512)),
    _adm("adm-bedrooms", "adm-256", "LSUN bedrooms", "jul-2021/lsun_bedroom.pt", dataset="lsun-bedrooms-256", resolution=256,
         objective="hybrid"),
    _adm("adm-cats", "adm-256", "LSUN cats", "jul-2021/lsun_cat.pt"),
    _adm("adm-horses", "adm-256", "LSUN horses", "jul-2021/lsun_horse.pt"),
    _adm("adm-horses-nodropout", "adm-256", "LSUN horses, trained without dropout", "jul-2021/lsun_horse_nodropout.pt"),
)  # fmt: skip
