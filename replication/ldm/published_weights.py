"""Published weights of latent diffusion U-Nets under our names: the official checkpoints, and diffusers' copies of them.

An official checkpoint holds the whole model: `model.diffusion_model.input_blocks.1.0.in_layers.0.weight` is our
`down.0.blocks.0.norm1.weight`. Its moving average, which the paper samples from, is there once more as
`model_ema.diffusion_modelinput_blocks10in_layers0weight`; the class embedder is `cond_stage_model.embedding.weight`.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from replication.layers.attention import Attention
from replication.layers.weight_names import DIFFUSERS_UNET, Table, renamed, under_our_names
from replication.ldm.class_embedder import ClassEmbedder
from replication.ldm.unet import UNet
from replication.types import InputError

PREFIX = "model.diffusion_model."
LABELS = "cond_stage_model.embedding.weight"

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


def from_diffusers(weights: Mapping[str, Tensor], network: UNet) -> dict[str, Tensor]:
    """The state dict of a diffusers `UNet2DModel` or `UNet2DConditionModel` as one for this network; nothing is copied.

    Raises InputError, naming a tensor, where one is missing, unexpected or of another shape.
    """
    return under_our_names(
        weights, (*_DIFFUSERS, *_TRANSFORMER, *DIFFUSERS_UNET), lambda _: network, "diffusers", "latent diffusion U-Net"
    )


def from_official(weights: Mapping[str, Tensor], network: UNet, ema: bool = True) -> dict[str, Tensor]:
    """The U-Net in an official checkpoint's state dict, and its class embedder, as a state dict for this network.

    ema: take the moving average. Tensors of the checkpoint's other parts are passed over. Raises InputError, naming a
    tensor, where one is missing, unexpected or of another shape.
    """
    table = (*_blocks(network), *_OFFICIAL, *_TRANSFORMER)
    own = {
        renamed(name.removeprefix(PREFIX), table): weights[_averaged(name, weights) if ema else name]
        for name in weights
        if name.startswith(PREFIX)
    }
    if isinstance(network.context_encoder, ClassEmbedder) and LABELS in weights:
        own["context_encoder.weight"] = _with_nothing_said(weights[LABELS], network.context_encoder.classes)
    _split_attention(own, network)
    return under_our_names(own, (), lambda _: network, "the official code", "latent diffusion U-Net")


def _with_nothing_said(labels: Tensor, classes: int) -> Tensor:
    """The embeddings, and their mean for "nothing said" where the model never learned it (cin-ldm-vq-f8)."""
    return torch.cat([labels, labels.mean(0, keepdim=True)]) if len(labels) == classes else labels


def _averaged(name: str, weights: Mapping[str, Tensor]) -> str:
    average = "model_ema." + name.removeprefix("model.").replace(".", "")
    if average not in weights:
        raise InputError(
            f"weights from the official code: no moving average {average!r} of {name!r}; ema = False takes that"
        )
    return average


def _split_attention(weights: dict[str, Tensor], network: UNet) -> None:
    """Plain attention has 1x1 convolutions for linear layers, and q, k and v in one of them, head after head."""
    for path, attention in network.named_modules():
        if not isinstance(attention, Attention):
            continue
        for kind in ("weight", "bias"):
            qkv, out = weights.get(f"{path}.qkv.{kind}"), weights.get(f"{path}.proj_out.{kind}")
            if qkv is not None and qkv.shape[0] == 3 * attention.q.out_features:
                heads = qkv.reshape(qkv.shape[:2]).unflatten(0, (attention.heads, 3, -1))
                parts = {part: heads[:, i].flatten(0, 1) for i, part in enumerate("qkv")}
                del weights[f"{path}.qkv.{kind}"]
                weights |= {f"{path}.{part}.{kind}": tensor for part, tensor in parts.items()}
            if out is not None:
                del weights[f"{path}.proj_out.{kind}"]
                weights[f"{path}.out.{kind}"] = out.reshape(out.shape[:2])


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
