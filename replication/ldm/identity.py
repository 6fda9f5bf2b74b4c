"""The autoencoder of pixel diffusion: latents are the images themselves, f = 1."""

import torch
from torch import Tensor

from replication.ldm.autoencoder import Autoencoder, Reconstruction
from replication.registry import AUTOENCODERS


class Identity(Autoencoder):
    """Everything returns its argument, [B,C,H,W]; there is nothing to train and nothing to scale."""

    def __init__(self, image_channels: int):
        super().__init__(1, image_channels, image_channels, "none")

    def moments(self, x: Tensor) -> Tensor:
        return x

    def latent(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        return moments

    def decode(self, z: Tensor) -> Tensor:
        return z

    def reconstruct(self, x: Tensor, noise: Tensor | None = None) -> Reconstruction:
        return Reconstruction(x, torch.zeros(len(x), device=x.device))

    def _latent(self, moments: Tensor, noise: Tensor | None) -> Tensor:
        return moments

    def _decode(self, z: Tensor) -> Tensor:
        return z


@AUTOENCODERS.register("identity")
def identity(image_channels: int = 3) -> Identity:
    """Latents are the images themselves, f = 1: pixel diffusion as a latent diffusion."""
    return Identity(image_channels)
