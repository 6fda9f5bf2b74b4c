"""Published weights of DiT under our names: the official checkpoints, and diffusers' copies of them.

Official: `blocks.0.attn.proj.weight` there is `blocks.0.attention.out.weight` here; the tensors are the same. Their
`pos_embed` is no weight: it must be the positions that this network computes, and then has no place of its own.

diffusers (`DiTTransformer2DModel`): queries, keys and values are three matrices there and one here, and every block there
carries its own copy of the time and label embedders; copies that differ are refused. Two facts of that class are not the
official code's: its sinusoids have divisor half - 1, and its second layer norm has eps 1e-5 unless `norm_eps` is 1e-6.
"""

import math
import re
from typing import Any

import torch
from torch import Tensor

from replication.dit.blocks import EPS
from replication.dit.model import DiT, sincos_positions
from replication.dit.sit import SiT
from replication.layers.weights import (
    HUB,
    Option,
    Options,
    Place,
    Published,
    Spelling,
    Table,
    Weights,
    renamed,
    under_our_names,
)
from replication.types import InputError

_OFFICIAL: Table = (
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
_DIFFUSERS: Table = (
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
_EMBEDDER, _FIRST = re.compile(r"^transformer_blocks\.(\d+)\.norm1\.emb\."), "transformer_blocks.0.norm1.emb."
_QKV = re.compile(r"\.attn1\.to_([qkv])\.")
ADJUSTED = (
    "for block in model.transformer_blocks:\n    block.norm1.emb.time_proj.downscale_freq_shift = 0  # the official one"
)


def from_official(weights: Weights, network: DiT) -> dict[str, Tensor]:
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
    return under_our_names(rest, _OFFICIAL, network, "the official code")


def from_diffusers(weights: Weights, network: DiT) -> dict[str, Tensor]:
    """The state dict of a `DiTTransformer2DModel` as one that `network.load_state_dict` takes.

    Raises InputError, naming a tensor, where one is missing, unexpected, of another shape, or an embedder's copy that
    differs from the first block's.
    """
    return under_our_names(_fused(_single(weights)), _DIFFUSERS, network, "diffusers")


def options(network: DiT) -> Options:
    """Of a `DiTTransformer2DModel`, and of the class that it was a part of before. Not `norm_eps`: see the module."""
    same = {
        "sample_size": Option(network.resolution, (network.resolution,)),  # of which the positions are a function
        "num_attention_heads": Option(16, (network.heads,)),
        "norm_type": Option("ada_norm_zero", ("ada_norm_zero",) if network.block == "adaln-zero" else ()),
        "time_of_the_straight_line": Option(False, (isinstance(network, SiT),)),
        "norm_elementwise_affine": Option(False, (False,)),
        "activation_fn": Option("gelu-approximate", ("gelu-approximate",)),
    }
    before = {name: option._replace(default=_BEFORE.get(name, option.default)) for name, option in same.items()}
    return {"DiTTransformer2DModel": same, "Transformer2DModel": before}


_BEFORE = {"norm_type": "layer_norm", "norm_elementwise_affine": True, "activation_fn": "geglu"}  # the defaults then


def shapes(network: DiT) -> dict[str, object]:
    """What a `DiTTransformer2DModel` is built from besides those options."""
    return {
        "attention_head_dim": network.width // network.heads,
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "num_layers": network.depth,
        "patch_size": network.patch,
        "num_embeds_ada_norm": network.classes or None,
        "norm_eps": EPS,
    }


def place(name: str) -> Place:
    """Of a tensor of a `DiTTransformer2DModel`: the blocks' embedders are one here, and so are q, k and v."""
    ours = renamed(_QKV.sub(".attn1.to_qkv.", _EMBEDDER.sub(_FIRST, name)), _DIFFUSERS)
    return Place(ours, "qkv".index(part[1]), 3) if (part := _QKV.search(name)) else Place(ours)


def _single(weights: Weights) -> dict[str, Tensor]:
    """Without the later blocks' copies of the embedders."""
    kept = {}
    for name, tensor in weights.items():
        copy = _EMBEDDER.match(name)
        if copy is None or copy[1] == "0":
            kept[name] = tensor
            continue
        first = weights.get(_EMBEDDER.sub(_FIRST, name))
        if first is None or not torch.equal(tensor, first):
            raise InputError(
                f"weights from diffusers: {name!r} differs from that of the first block: this network embeds once"
            )
    return kept


def _fused(weights: Weights) -> dict[str, Tensor]:
    """With queries, keys and values in one matrix."""
    fused = {}
    for name, tensor in weights.items():
        if not _QKV.search(name):
            fused[name] = tensor
        elif ".to_q." in name:
            three = [name.replace(".to_q.", f".to_{part}.") for part in "qkv"]
            for part in three:
                if part not in weights:
                    raise InputError(f"weights from diffusers: {part!r} is missing")
            fused[name.replace(".to_q.", ".to_qkv.")] = torch.cat([weights[part] for part in three])
    return fused


SPELLINGS = (
    Spelling(DiT, "official", "x_embedder.", from_official),
    Spelling(
        DiT, "diffusers", "transformer_blocks.", from_diffusers, options, shapes=shapes, place=place, adjusted=ADJUSTED
    ),
)
_FILES, _NC = "https://dl.fbaipublicfiles.com/DiT/models", "CC-BY-NC-4.0"
_256: dict[str, Any] = {"dataset": "imagenet-256", "resolution": 256, "steps": 7_000_000, "objective": "hybrid"}
_512: dict[str, Any] = {"dataset": "imagenet-256", "resolution": 512, "steps": 3_000_000, "objective": "hybrid"}
_MIT, _PART = "MIT, the repository's; none stated for the file", "transformer"
_XL, _AT_256, _AT_512 = "dit-xl/2", "ImageNet 256", "ImageNet 512"
_SIT = "ImageNet 256, on the straight line; its network gives the velocity"
_LINE: dict[str, Any] = {**_256, "schedule": "flow", "objective": "rectified-flow", "parameterization": "velocity"}
WEIGHTS = (
    Published("dit-xl-2-256", _XL, _AT_256, "official", f"{_FILES}/DiT-XL-2-256x256.pt", _NC, **_256),
    Published("dit-xl-2-512", _XL, _AT_512, "official", f"{_FILES}/DiT-XL-2-512x512.pt", _NC, **_512),
    Published("dit-xl-2-256-diffusers", _XL, _AT_256, "diffusers", f"{HUB}facebook/DiT-XL-2-256", _NC, **_256, folder=_PART),
    Published("dit-xl-2-512-diffusers", _XL, _AT_512, "diffusers", f"{HUB}facebook/DiT-XL-2-512", _NC, **_512, folder=_PART),
    Published("sit-xl-2-256", "sit-xl/2", _SIT, "official", f"{HUB}nyu-visionx/SiT-collections", _MIT, **_LINE,
              file="SiT-XL-2-256.pt"),
)  # fmt: skip
