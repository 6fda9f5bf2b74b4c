"""LPIPS on VGG16 (Zhang et al. 2018), the perceptual distance of the published first stages.

Two files: torchvision's VGG16 and LPIPS's weights per channel, which torch-fidelity republishes. They are those in the
folder that $REPLICATION_LPIPS_WEIGHTS names, or else what download.py keeps, downloaded when a training needs them.
"""

import os
import pickle
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from replication.download import Remote, fetch, weights_path
from replication.files import expanded
from replication.ldm.losses.distances import Perceptual, unit_difference
from replication.registry import PERCEPTUAL
from replication.types import InputError

VARIABLE = "REPLICATION_LPIPS_WEIGHTS"
VGG = Remote("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")
CHANNELS = Remote("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth", "")
TAPS = (3, 8, 15, 22, 29)  # of VGG16's features: the last ReLU before each pooling, and the last of all
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for images in [-1, 1]
SMALLEST = 16  # pixels, for four poolings


@PERCEPTUAL.register("lpips-vgg16")
class LPIPS(Perceptual):
    """LPIPS on VGG16 (Zhang et al. 2018), colour images (528 MB, $REPLICATION_LPIPS_WEIGHTS)."""

    def __init__(self) -> None:
        super().__init__()
        folder = os.environ.get(VARIABLE)
        self._given = expanded(folder, VARIABLE) if folder else None

    def file(self, remote: Remote) -> Path:
        """Where one of the two files is, or will be."""
        return self._given / remote.filename if self._given else weights_path(remote)

    def ensure(self) -> None:
        for remote in (VGG, CHANNELS):
            file = self.file(remote)
            otherwise = (
                f"put {remote.url} into a folder that {VARIABLE} names, or choose features-cifar10-resnet, "
                "features-digits-cnn or none"
            )
            if self._given and not file.is_file():
                raise InputError(f"perceptual distance 'lpips-vgg16': {file} is not there; {otherwise}")
            fetch(remote, file, otherwise)

    def check(self, channels: int, resolution: int) -> None:
        if channels != 3 or resolution < SMALLEST:
            raise InputError(
                f"perceptual distance 'lpips-vgg16' takes colour images from {SMALLEST} pixels on, not {resolution}x"
                f"{resolution} with {channels} channels (valid for any: none)"
            )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        layers, weights = self._loaded
        if layers[0].weight.device != a.device:
            layers.to(a.device)
        mean, std = (torch.tensor(v, device=a.device).reshape(3, 1, 1) for v in (MEAN, STD))
        h = torch.cat([(a - mean) / std, (b - mean) / std])
        distance = torch.zeros(len(a), device=a.device)
        for i, layer in enumerate(layers):
            h = layer(h)
            if i in TAPS:
                weight = weights[TAPS.index(i)].to(a.device)  # [1,C,1,1]
                distance = distance + (weight * unit_difference(*h.chunk(2))).sum(1).mean((1, 2))
        return distance

    @cached_property
    def _loaded(self) -> tuple[nn.Sequential, list[Tensor]]:
        """VGG16's layers up to the last tap, and the five layers' weights; read at first use: half a gigabyte."""
        from torchvision.models import vgg16  # a second to import, and a plan builds this part without using it

        self.ensure()
        with torch.device("meta"):
            layers = vgg16().features[: TAPS[-1] + 1]
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        features = {k.removeprefix("features."): v for k, v in self._read(VGG).items() if k.startswith("features.")}
        channels = self._read(CHANNELS)
        try:
            layers.load_state_dict(features, assign=True)
            weights = [channels[f"lin{i}.model.1.weight"] for i in range(len(TAPS))]
        except (RuntimeError, KeyError) as error:
            raise InputError(
                f"perceptual distance 'lpips-vgg16': {self.file(VGG).parent}: other weights ({error})"
            ) from error
        return layers.requires_grad_(False).eval(), weights

    def _read(self, remote: Remote) -> dict[str, Tensor]:
        file = self.file(remote)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"perceptual distance 'lpips-vgg16': cannot read {file}: {reason}") from error
