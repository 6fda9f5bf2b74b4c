"""The embedded extractors, small classifiers: `digits-cnn` of 8x8 grey digits, `cifar10-resnet` of 32x32 colour images.

Their distances are FD-digits and FD-cifar10-resnet, never FID. `python -m replication.metrics.training NAME` trains them;
weights/NAME.md has their accuracy.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.metrics.extractor import EmbeddedExtractor
from replication.pixels import to_signed
from replication.registry import EXTRACTORS

WIDTHS = (48, 128, 256)  # of cifar10-resnet
PATCH = 2  # side of the patches that its first layer whitens, pixels


class DigitsCNN(nn.Module):
    """uint8 [B,1,8,8] -> (values [B,64], logits [B,10], spatial [B,112]); the logits are linear in the values.

    The spatial features are the first seven channels of the last map of 4x4, as sFID takes seven of Inception's.

    The values are standardised to variance 1 over training digits: KID's kernel (a.b / D + 1)^3 is balanced for
    features of that size, and is all cube, hence all noise, for larger ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in [(1, 32), (32, 32), (32, 64)])
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (32, 32, 64))
        self.hidden = nn.Linear(64 * 4 * 4, 64)
        self.standardise = nn.BatchNorm1d(64, affine=False)
        self.classes = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = to_signed(images)  # [B,1,8,8] in [-1, 1]
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            h = F.silu(norm(convolution(h)))
            h = F.max_pool2d(h, 2) if i == 1 else h  # [B,64,4,4] in the end
        values = self.standardise(F.silu(self.hidden(h.flatten(1))))  # [B,64]
        return values, self.classes(values), h[:, :7].flatten(1)


@EXTRACTORS.register("digits-cnn")
class DigitsExtractor(EmbeddedExtractor):
    """FD-digits, of 8x8 grey: a classifier of the suite's own, weights in the package."""

    name, family, classifies = "digits-cnn", "digits", "digits"
    sha256 = "365d798d941b65855d37b0878caef55c306826f779c33f6ae8835047abb7b642"
    classifier, shape = DigitsCNN, (1, 8, 8)


class Block(nn.Module):
    """[B,I,H,W] -> [B,O,H/2,W/2]: a convolution to O channels, 2x2 max-pooling, and a convolution with a skip."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.widen = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))

    def forward(self, h: Tensor) -> Tensor:
        h = F.silu(self.norms[0](F.max_pool2d(self.widen(h), 2)))
        return h + F.silu(self.norms[1](self.refine(h)))


class CIFAR10ResNet(nn.Module):
    """uint8 [B,3,32,32] -> (values [B,256], logits [B,10], spatial [B,343]); the logits are linear in the values.

    `whiten` is a fixed filter bank, each filter beside its negative; training puts it there from the images' covariance.
    The values are standardised as digits-cnn's are; the spatial features are seven channels of the map of 7x7.
    """

    def __init__(self) -> None:
        super().__init__()
        directions = 3 * PATCH**2
        self.whiten = nn.Conv2d(3, 2 * directions, PATCH, bias=False).requires_grad_(False)
        inputs = (2 * directions, *WIDTHS[:-1])
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(inputs, WIDTHS, strict=True))
        self.standardise = nn.BatchNorm1d(WIDTHS[-1], affine=False)
        self.classes = nn.Linear(WIDTHS[-1], 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = to_signed(images).contiguous(memory_format=torch.channels_last)
        h = F.silu(self.whiten(h))  # [B,24,31,31]
        maps = []
        for block in self.blocks:
            h = block(h)  # 15x15, 7x7, 3x3
            maps.append(h)
        values = self.standardise(h.amax((2, 3)))
        return values, self.classes(values) / 8, maps[1][:, :7].flatten(1)


@EXTRACTORS.register("cifar10-resnet")
class CIFAR10Extractor(EmbeddedExtractor):
    """FD-cifar10-resnet, of 32x32 colour: a classifier of the suite's own, weights in the package."""

    name, family, classifies = "cifar10-resnet", "cifar10-resnet", "cifar10"
    sha256 = "2a204ebdce9d7acc2c7d5a203c63d637a9c5d4789069becc91b9a925968d8596"
    classifier, shape = CIFAR10ResNet, (3, 32, 32)
