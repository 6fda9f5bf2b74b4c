"""Published DiT weights in the spelling of diffusers' `DiTTransformer2DModel` (facebook/DiT-XL-2-256 on the Hub).

Queries, keys and values are three matrices there and one here, and every block there carries its own copy of the time
and label embedders; copies that differ are refused. Two facts of that class are not the official code's: its sinusoids
have divisor half - 1, and its second layer norm has eps 1e-5 unless `norm_eps` says 1e-6. The weights are the same.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from replication.dit.model import DiT
from replication.layers.weight_names import Table, under_our_names
from replication.types import InputError

SOURCE = "weights from diffusers"
_EMBEDDER = re.compile(r"^transformer_blocks\.(\d+)\.norm1\.emb\.")
_QKV = re.compile(r"\.attn1\.to_[qkv]\.")
_NAMES: Table = (
    (r"^pos_embed\.proj\.", "patches.project."),
    (r"^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_1\.", "timestep.first."),
    (r"^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_2\.", "timestep.second."),
    (r"^transformer_blocks\.0\.norm1\.emb\.class_embedder\.embedding_table\.", "label."),
    (r"^proj_out_1\.", "final.modulation.project."),
    (r"^proj_out_2\.", "final.project."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.norm1\.linear\.", ".modulation.project."),
    (r"\.attn1\.to_out\.0\.", ".attention.out."),
    (r"\.attn1\.to_qkv\.", ".attention.qkv."),
    (r"\.ff\.net\.0\.proj\.", ".mlp.0."),
    (r"\.ff\.net\.2\.", ".mlp.2."),
)


def from_diffusers(weights: Mapping[str, Tensor], network: DiT) -> dict[str, Tensor]:
    """The state dict of a `DiTTransformer2DModel` as one that `network.load_state_dict` takes.

    Raises InputError, naming a tensor, where one is missing, unexpected, of another shape, or an embedder's copy that
    differs from the first block's.
    """
    return under_our_names(_fused(_single(weights)), _NAMES, lambda _: network, "diffusers", "DiT")


def _single(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the later blocks' copies of the embedders."""
    kept = {}
    for name, tensor in weights.items():
        copy = _EMBEDDER.match(name)
        if copy is None or copy[1] == "0":
            kept[name] = tensor
            continue
        first = weights.get(_EMBEDDER.sub("transformer_blocks.0.norm1.emb.", name))
        if first is None or not torch.equal(tensor, first):
            raise InputError(f"{SOURCE}: {name!r} differs from that of the first block: this network embeds once")
    return kept


def _fused(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With queries, keys and values in one matrix."""
    fused = {}
    for name, tensor in weights.items():
        if not _QKV.search(name):
            fused[name] = tensor
        elif ".to_q." in name:
            three = [name.replace(".to_q.", f".to_{part}.") for part in "qkv"]
            for part in three:
                if part not in weights:
                    raise InputError(f"{SOURCE}: {part!r} is missing")
            fused[name.replace(".to_q.", ".to_qkv.")] = torch.cat([weights[part] for part in three])
    return fused
