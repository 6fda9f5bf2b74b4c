"""Weights that others publish, under our names: a table of patterns, and a check that every tensor has its place.

A network's converter brings its table and says which of our networks the shapes describe; the rest is here.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from replication.types import InputError

Table = Sequence[tuple[str, str]]  # (regular expression, replacement), applied in their order
Shapes = Mapping[str, torch.Size]  # our name -> shape

# diffusers' words for the levels and blocks that DDPM's U-Net and LDM's autoencoders share, wherever in the network they
# sit. Files from before diffusers 0.15 spell the attention otherwise (query, proj_attn); both spellings are read.
DIFFUSERS_BLOCKS: Table = (
    (r"(^|\.)conv_norm_out\.", r"\1norm_out."),
    (r"(^|\.)mid_block\.resnets\.0\.", r"\1middle1."),
    (r"(^|\.)mid_block\.resnets\.1\.", r"\1middle2."),
    (r"(^|\.)mid_block\.attentions\.0\.", r"\1middle_attention."),
    (r"(^|\.)(down|up)_blocks\.(\d+)\.\2samplers\.0\.conv\.", r"\1\2sample.\3."),
    (r"(^|\.)(down|up)_blocks\.(\d+)\.resnets\.", r"\1\2.\3.blocks."),
    (r"(^|\.)(down|up)_blocks\.(\d+)\.attentions\.", r"\1\2.\3.attentions."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"(attentions?\.(?:\d+\.)*)group_norm\.", r"\1norm."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_q|query)\.", r"\1q."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_k|key)\.", r"\1k."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_v|value)\.", r"\1v."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_out\.0|proj_attn)\.", r"\1out."),
)

# and those that only a U-Net has, which is told the time
DIFFUSERS_UNET: Table = (
    (r"^time_embedding\.linear_1\.", "embed.0."),
    (r"^time_embedding\.linear_2\.", "embed.2."),
    (r"\.time_emb_proj\.", ".embed."),
    *DIFFUSERS_BLOCKS,
)


def renamed(name: str, table: Table) -> str:
    """The name after every pattern of the table."""
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def highest(shapes: Shapes, pattern: str) -> int:
    """The largest number that the pattern's first group matches at the start of a name; ValueError if none does."""
    return max(int(m[1]) for name in shapes if (m := re.match(pattern, name)))


def under_our_names(
    weights: Mapping[str, Tensor], table: Table, described: Callable[[Shapes], nn.Module], source: str, network: str
) -> dict[str, Tensor]:
    """A state dict for the network that `described` builds from the shapes; tensors are not copied.

    `described` is called on the meta device, and every tensor of its network must be there. `source` and `network` are
    words for messages: "diffusers", "DDPM U-Net". Raises InputError, naming a tensor, where one is missing, unexpected
    or of another shape.
    """
    theirs = {renamed(name, table): name for name in weights}
    if len(theirs) < len(weights):
        double = next(name for name in weights if theirs[renamed(name, table)] != name)
        raise InputError(
            f"weights from {source}: {double!r} and {theirs[renamed(double, table)]!r} are the same tensor"
        )
    shapes = {name: weights[theirs[name]].shape for name in theirs}
    try:
        with torch.device("meta"):
            expected = described(shapes).state_dict()
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"weights from {source}: these are no {network}'s ({error} is missing or odd)") from error
    for name, tensor in expected.items():
        if name not in theirs:
            raise InputError(f"weights from {source}: nothing there for {name!r} of our network")
        if shapes[name] != tensor.shape:
            found = f"{tuple(shapes[name])}, not {tuple(tensor.shape)}"
            raise InputError(f"weights from {source}: {theirs[name]!r} has shape {found}")
    for name in theirs.keys() - expected.keys():
        raise InputError(f"weights from {source}: {theirs[name]!r} has no place in our network")
    return {name: weights[theirs[name]] for name in expected}
