"""Published weights: the DDPM U-Nets on the Hugging Face Hub (google/ddpm-cifar10-32 and its siblings), under our names.

Their files say `down_blocks.1.resnets.0.conv1.weight` where ours say `down.1.blocks.0.conv1.weight`; the tensors are the
same. Files from before diffusers 0.15 spell the attention otherwise (query, proj_attn); both spellings are read.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from replication.ddpm.unet import UNet
from replication.types import InputError

_NAMES = (
    (r"^time_embedding\.linear_1\.", "embed.0."),
    (r"^time_embedding\.linear_2\.", "embed.2."),
    (r"^conv_norm_out\.", "norm_out."),
    (r"^mid_block\.resnets\.0\.", "middle1."),
    (r"^mid_block\.resnets\.1\.", "middle2."),
    (r"^mid_block\.attentions\.0\.", "middle_attention."),
    (r"^(down|up)_blocks\.(\d+)\.\1samplers\.0\.conv\.", r"\1sample.\2."),
    (r"^(down|up)_blocks\.(\d+)\.resnets\.", r"\1.\2.blocks."),
    (r"^(down|up)_blocks\.(\d+)\.attentions\.", r"\1.\2.attentions."),
    (r"\.time_emb_proj\.", ".embed."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"(attentions?\.(?:\d+\.)*)group_norm\.", r"\1norm."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_q|query)\.", r"\1q."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_k|key)\.", r"\1k."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_v|value)\.", r"\1v."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_out\.0|proj_attn)\.", r"\1out."),
)


def from_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a diffusers `UNet2DModel` as one that `UNet.load_state_dict` takes; tensors are not copied.

    The shapes tell which UNet it is, and every tensor of that network must be there. Raises InputError, naming a tensor,
    where one is missing, unexpected or of another shape.
    """
    theirs = {_our_name(name): name for name in weights}
    shapes = {name: weights[theirs[name]].shape for name in theirs}
    try:
        expected = _described(shapes).state_dict()
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"weights from diffusers: these are no DDPM U-Net's ({error} is missing or odd)") from error
    for name, tensor in expected.items():
        if name not in theirs:
            raise InputError(f"weights from diffusers: nothing there for {name!r} of our network")
        if shapes[name] != tensor.shape:
            found = f"{tuple(shapes[name])}, not {tuple(tensor.shape)}"
            raise InputError(f"weights from diffusers: {theirs[name]!r} has shape {found}")
    for name in theirs.keys() - expected.keys():
        raise InputError(f"weights from diffusers: {theirs[name]!r} has no place in our network")
    return {name: weights[theirs[name]] for name in expected}


def _our_name(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _described(shapes: Mapping[str, torch.Size]) -> UNet:
    """The network, without memory, whose levels, blocks, widths and attentions these tensors have."""
    width, channels = shapes["conv_in.weight"][:2]
    levels = 1 + max(int(m[1]) for name in shapes if (m := re.match(r"down\.(\d+)\.", name)))
    blocks = 1 + max(int(m[1]) for name in shapes if (m := re.match(r"down\.0\.blocks\.(\d+)\.", name)))
    resolution = 1 << levels  # any will do: it only says at which level an attention sits
    with torch.device("meta"):
        return UNet(
            resolution,
            channels,
            width,
            tuple(shapes[f"down.{i}.blocks.0.conv1.weight"][0] // width for i in range(levels)),
            blocks,
            tuple(resolution >> i for i in range(levels) if f"down.{i}.attentions.0.q.weight" in shapes),
            groups=1,
            learned_variance=shapes["conv_out.weight"][0] == 2 * channels,
        )
