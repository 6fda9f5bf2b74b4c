"""Weights that others publish: where they are, how they are spelt, and how each tensor finds its place under our names.

A paper's folder holds a module `published_weights` with two tables: SPELLINGS, what brings each spelling of its networks
under our names, and WEIGHTS, the published files. `replicate weights` looks there, beside the part's own module, in this
package as in any other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from replication.types import InputError

Weights = Mapping[str, Tensor]
Table = Sequence[tuple[str, str]]  # (regular expression, replacement), applied in their order


class Spelling(NamedTuple):
    """One way to write the weights of a kind of network, recognised by how some tensor's name begins."""

    of: type[nn.Module]
    name: Literal["official", "diffusers"]
    begins: str
    convert: Callable[[Weights, Any], dict[str, Tensor]]  # (weights, network) -> the network's state dict


class Published(NamedTuple):
    """A published file, of the paper in whose folder the table is.

    sha256 is empty where nobody stated it: it is never measured on what was downloaded.
    """

    part: str  # the name of the network or first stage
    what: str  # data, and what is particular
    spelling: Literal["official", "diffusers"]
    url: str
    licence: str
    sha256: str = ""


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

# and those that only a U-Net has, with its time embedding
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


def under_our_names(weights: Weights, table: Table, network: nn.Module, source: str) -> dict[str, Tensor]:
    """The network's state dict of these tensors, which are not copied; `source` is a word for messages, "diffusers".

    Buffers may be missing. Raises InputError, naming a tensor, where a parameter is missing, and where a tensor is
    unexpected, of another shape, or there twice.
    """
    theirs = {renamed(name, table): name for name in weights}
    if len(theirs) < len(weights):
        double = next(name for name in weights if theirs[renamed(name, table)] != name)
        raise InputError(
            f"weights from {source}: {double!r} and {theirs[renamed(double, table)]!r} are the same tensor"
        )
    expected, parameters = network.state_dict(), dict(network.named_parameters())
    for name, tensor in expected.items():
        if name in theirs and (shape := weights[theirs[name]].shape) != tensor.shape:
            found = f"{tuple(shape)}, not {tuple(tensor.shape)}"
            raise InputError(f"weights from {source}: {theirs[name]!r} has shape {found}")
        if name in parameters and name not in theirs:
            raise InputError(f"weights from {source}: nothing there for {name!r} of our network")
    for name in theirs.keys() - expected.keys():
        raise InputError(f"weights from {source}: {theirs[name]!r} has no place in our network")
    return {name: weights[theirs[name]] for name in expected if name in theirs}


def by_table(table: Table, source: str = "diffusers") -> Callable[[Weights, nn.Module], dict[str, Tensor]]:
    """The conversion of a spelling that differs from ours in names alone; raises as under_our_names does."""
    return lambda weights, network: under_our_names(weights, table, network, source)
