"""Published DiT weights in the spelling of the official checkpoints (DiT-XL-2-256x256.pt and its siblings).

`blocks.0.attn.proj.weight` there is `blocks.0.attention.out.weight` here; the tensors are the same. Their `pos_embed` is
no weight: it must be the positions that this network computes, and then has no place of its own.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from replication.dit.model import DiT
from replication.dit.positions import sincos_positions
from replication.layers.weight_names import Table, under_our_names
from replication.types import InputError

_NAMES: Table = (
    (r"^x_embedder\.proj\.", "patches.project."),
    (r"^t_embedder\.mlp\.0\.", "timestep.first."),
    (r"^t_embedder\.mlp\.2\.", "timestep.second."),
    (r"^y_embedder\.embedding_table\.", "label."),
    (r"^final_layer\.adaLN_modulation\.1\.", "final.modulation.project."),
    (r"^final_layer\.linear\.", "final.project."),
    (r"\.adaLN_modulation\.1\.", ".modulation.project."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)


def from_official(weights: Mapping[str, Tensor], network: DiT) -> dict[str, Tensor]:
    """The state dict of an official adaLN-Zero DiT as one that `network.load_state_dict` takes.

    Raises InputError, naming a tensor, where one is missing, unexpected or of another shape, and for positions of
    another size than the network's.
    """
    rest = dict(weights)
    positions = rest.pop("pos_embed", None)
    expected = sincos_positions(network.resolution // network.patch, network.width)
    if positions is not None:
        if positions.shape[1:] != expected.shape:
            side, ours = math.isqrt(positions.shape[1]), math.isqrt(len(expected))
            raise InputError(
                f"weights from the official code: 'pos_embed' has {side} x {side} positions, this network {ours} x {ours}: "
                f"they are of another resolution, patch or width"
            )
        if not torch.allclose(positions[0].float().cpu(), expected, rtol=0, atol=1e-5):
            raise InputError(
                "weights from the official code: 'pos_embed' holds other positions than this network computes"
            )
    return under_our_names(rest, _NAMES, lambda _: network, "the official code", "DiT")
