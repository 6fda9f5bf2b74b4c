"""The discriminator of patches, the two sides of the adversarial loss, and its adaptive weight.

Isola et al. 2017, section 3.2.2, as VQGAN and LDM use it; Esser et al. 2021, equations 5 to 7, with hinge losses as in the
official code.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.registry import DISCRIMINATORS
from replication.types import InputError

LIMIT = 1e4  # of the adaptive weight
WIDEST = 8  # times the first layer's width


@DISCRIMINATORS.register("patchgan")
class PatchGAN(nn.Module):
    """PatchGAN, one logit for each overlapping patch of 70x70 pixels (Isola et al. 2017, section 3.2.2).

    [B,C,H,W] -> logits [B,1,h,w]; convolutions of 4x4, BatchNorm, LeakyReLU 0.2. `layers` halve the resolution; the defaults
    have 2,765,633 parameters. An image of 8x8 pixels needs layers = 1.
    """

    version = 1

    def __init__(self, image_channels: int = 3, width: int = 64, layers: int = 3):
        super().__init__()
        if layers < 1 or width < 1:
            raise InputError(f"discriminator 'patchgan': layers = {layers} and width = {width} must be at least 1")
        self.image_channels = image_channels
        parts: list[nn.Module] = [nn.Conv2d(image_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        c = width
        for i in range(1, layers + 1):
            wider = width * min(2**i, WIDEST)
            # BatchNorm has the bias; the last of these does not halve
            parts += [nn.Conv2d(c, wider, 4, stride=2 if i < layers else 1, padding=1, bias=False)]
            parts += [nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
            c = wider
        parts.append(nn.Conv2d(c, 1, 4, padding=1))
        self.layers = nn.Sequential(*parts)
        for part in parts:
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, 0.0, 0.02)
            elif isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logits [B,1,h,w] of images and of reconstructions -> []; 1 at chance, 0 when every patch is beyond its margin."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    """Logits of reconstructions -> []."""
    return -fake.mean()


def adaptive_weight(
    reconstruction: Tensor,
    generator: Tensor,
    last_layer: Tensor,
    limit: float = LIMIT,
    whole: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """Ratio of the two losses' gradient norms at the decoder's last layer, clamped to [0, limit], a constant, [].

    The official KL loss sums over an image's C*H*W values before it takes the ratio, so its limit of 1e4 is 1e4 / (C*H*W)
    for the means used here; the official VQ loss is a mean. `whole` makes the gradient of the batch out of that of the losses,
    where they are of some of its images.
    """
    first, second = (
        whole(torch.autograd.grad(loss, last_layer, retain_graph=True)[0].float()).norm()
        for loss in (reconstruction, generator)
    )
    return (first / (second + 1e-4)).clamp(0, limit).detach()
