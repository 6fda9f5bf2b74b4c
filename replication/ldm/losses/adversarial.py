"""The two sides of the adversarial loss, and its adaptive weight: Esser et al. 2021, equations 5 to 7.

Hinge losses, as in the official code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT = 1e4  # of the adaptive weight


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logits [B,1,h,w] of images and of reconstructions -> []; 1 at chance, 0 when every patch is beyond its margin."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    """Logits of reconstructions -> []."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, generator: Tensor, last_layer: Tensor, limit: float = LIMIT) -> Tensor:
    """Ratio of the two losses' gradient norms at the decoder's last layer, clamped to [0, limit], a constant, [].

    The official KL loss sums over an image's C*H*W values before it takes the ratio, so its limit of 1e4 is 1e4 / (C*H*W)
    for the means used here; the official VQ loss is a mean.
    """
    first, second = (
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].float().norm()
        for loss in (reconstruction, generator)
    )
    return (first / (second + 1e-4)).clamp(0, limit).detach()
