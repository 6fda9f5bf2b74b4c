"""The autoencoder of pixel diffusion: latents are the images themselves, f = 1."""

from torch import Tensor

from replication.registry import AUTOENCODERS


@AUTOENCODERS.register("identity")
class Identity:
    """encode and decode return their argument, [B,3,H,W]."""

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z
