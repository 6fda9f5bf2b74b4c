"""ADM's classifiers of noisy images, by whose gradients samples are guided: Dhariwal and Nichol 2021, section 4.

The way down of its U-Net and the middle, then CLIP's attention pool (Radford et al. 2021): the mean of all positions is one
position more, and what that one attends to goes to the logits. Weights are read where they lie, and enter keys by content.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.download import RECORD, data_home
from replication.files import expanded, known_sha256
from replication.layers.building import without_parameters
from replication.layers.conditioning import Encoder
from replication.layers.unet import Attention, DownPath, GroupNorm, activated, attend
from replication.layers.weight_files import not_finite, read_weights, weight_files
from replication.layers.weights import under_our_names
from replication.ldm.published_weights import official_parts
from replication.ldm.unet import EPS
from replication.registry import CLASSIFIERS
from replication.types import InputError


class AttentionPool(nn.Module):
    """[B,C,H,W] -> [B,outputs], for images of `side` pixels."""

    def __init__(self, side: int, channels: int, head_channels: int, outputs: int):
        super().__init__()
        self.heads = channels // head_channels
        self.positions = nn.Parameter(torch.randn(channels, side**2 + 1) / channels**0.5)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        x = (torch.cat([x.mean(2, keepdim=True), x], dim=2) + self.positions).transpose(1, 2)  # [B,1+H*W,C]
        q, k, v = self.qkv(x).chunk(3, dim=2)
        return self.out(attend(q[:, :1], k, v, self.heads)[:, 0])


class NoisyClassifier(DownPath):
    """`classifier(x [B,C,H,W], timestep [B]) -> logits [B,K]` of K classes.

    weights: a file of the official code, or the name of published ones that were fetched; see `with_weights`.
    """

    def __init__(self, classes: int, head_channels: int, weights: str, groups: int, **options: Any):
        def attention(_: int, c: int) -> nn.Module:
            return Attention(c, groups, EPS, c // head_channels)

        conventions: dict[str, Any] = {"eps": EPS, "cos_first": True, "pad_all_sides": True, "dropout": 0.0}
        super().__init__(**options, attention=attention, groups=groups, **conventions)
        self.outputs, self.weights = classes, weights
        c, side = self.middle1.conv1.out_channels, self.resolution >> len(self.downsample)
        self.norm_out, self.pool = GroupNorm(groups, c, EPS), AttentionPool(side, c, head_channels, classes)

    @property
    def encoder(self) -> Encoder | None:
        return None

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        return self.pool(activated(self.norm_out(self.down_to_the_middle(x, self.time_embedding(timestep))[0])))

    @property
    def lacking(self) -> str:
        """The name of what has to be fetched; empty where the weights are here."""
        return "" if found(self.weights) else self.weights

    @cached_property
    def with_weights(self) -> "NoisyClassifier":
        """The classifier itself, its weights in it and frozen.

        Raises InputError where there are none, and, naming a tensor, where they are of another network.
        """
        path = self.ensure()
        weights = read_weights(weight_files(path))
        if spoilt := not_finite(weights):
            raise InputError(f"{path}: {spoilt}")
        try:
            own = under_our_names(from_official(weights, self), (), self, "the official code")
        except InputError as error:
            raise InputError(f"classifier weights {path}: {error}") from error
        self.load_state_dict({name: tensor.float() for name, tensor in own.items()}, assign=True)
        return self.eval().requires_grad_(False)

    def ensure(self) -> Path:
        """Where the weights are; raises InputError where they are not, and says how to get them."""
        if (path := found(self.weights)) is None:
            way = f"`replicate weights fetch {self.weights}` brings published ones"
            raise InputError(f"classifier: weights = {self.weights!r}: no such file, and not fetched; {way}")
        return path


def found(weights: str) -> Path | None:
    """The file of that path, or the folder of published weights that were fetched under that name."""
    given, fetched = expanded(weights, "weights"), data_home() / "weights" / weights
    return given if given.is_file() else fetched if (fetched / RECORD).is_file() else None


def from_official(weights: dict[str, Tensor], network: NoisyClassifier) -> dict[str, Tensor]:
    """Of guided-diffusion's EncoderUNetModel; its pool's convolutions over a sequence are linear layers here."""
    pool = {"positional_embedding": "positions", "qkv_proj": "qkv", "c_proj": "out"}
    own = official_parts({name: tensor for name, tensor in weights.items() if not name.startswith("out.2.")}, network)
    for name, tensor in weights.items():
        part, _, kind = name.removeprefix("out.2.").partition(".")
        if name.startswith("out.2.") and part in pool:
            own[f"pool.{pool[part]}{'.' * bool(kind)}{kind}"] = tensor[:, :, 0] if tensor.ndim == 3 else tensor
        elif name.startswith("out.2."):
            own[name] = tensor  # without a place, which is said
    return own


@CLASSIFIERS.register("adm-classifier")
def adm_classifier(
    weights: str,
    resolution: int,
    channels: int,
    classes: int,
    width: int,
    multipliers: list[int],
    blocks: int,
    attention: list[int],
    head_channels: int = 64,
    groups: int = 32,
    time_width: int = 0,
) -> NoisyClassifier:
    """A classifier of noisy images of any size (Dhariwal and Nichol 2021); attention: downsampling factors of the levels."""
    with without_parameters():
        return NoisyClassifier(
            classes, head_channels, weights, groups, resolution=resolution, in_channels=channels, width=width,
            multipliers=multipliers, blocks=blocks, attends=[1 << i in attention for i in range(len(multipliers))],
            time_width=time_width, scale_shift=True, resampling_blocks=True,
        )  # fmt: skip


@CLASSIFIERS.register("adm-classifier-64")
def adm_classifier_64(weights: str = "adm-classifier-64") -> NoisyClassifier:
    """The classifier of ImageNet at 64x64: 65.4M parameters (Dhariwal and Nichol 2021)."""
    return adm_classifier(weights, 64, 3, 1000, 128, [1, 2, 3, 4], 4, [2, 4, 8])


@CLASSIFIERS.register("adm-classifier-128")
def adm_classifier_128(weights: str = "adm-classifier-128") -> NoisyClassifier:
    """The classifier of ImageNet at 128x128: 42.6M parameters (Dhariwal and Nichol 2021)."""
    return adm_classifier(weights, 128, 3, 1000, 128, [1, 1, 2, 3, 4], 2, [4, 8, 16])


@CLASSIFIERS.register("adm-classifier-256")
def adm_classifier_256(weights: str = "adm-classifier-256") -> NoisyClassifier:
    """The classifier of ImageNet at 256x256: 54.1M parameters (Dhariwal and Nichol 2021)."""
    return adm_classifier(weights, 256, 3, 1000, 128, [1, 1, 2, 2, 4, 4], 2, [8, 16, 32])


@CLASSIFIERS.register("adm-classifier-512")
def adm_classifier_512(weights: str = "adm-classifier-512") -> NoisyClassifier:
    """The classifier of ImageNet at 512x512: 54.4M parameters (Dhariwal and Nichol 2021)."""
    return adm_classifier(weights, 512, 3, 1000, 64, [1, 2, 2, 4, 4, 8, 8], 2, [16, 32, 64], time_width=128)


def _by_content(options: dict[str, Any]) -> dict[str, Any]:
    """What a key holds of the options: the weights' SHA-256, and until they are here, what no file has."""
    path = found(options["weights"])
    return {**options, "weights": weight_files(path).sha256(known_sha256) if path else "not here"}


for _factory in (adm_classifier, adm_classifier_64, adm_classifier_128, adm_classifier_256, adm_classifier_512):
    _factory.identified = _by_content
