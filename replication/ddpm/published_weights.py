"""Published weights of DDPM: google's copies of the official checkpoints on the Hugging Face Hub, under our names.

Their files have `down_blocks.1.resnets.0.conv1.weight` where ours have `down.1.blocks.0.conv1.weight`; the tensors are the
same. The official TensorFlow checkpoints are not read.
"""

from torch import Tensor

from replication.layers.unet import UNet
from replication.layers.weights import DIFFUSERS_UNET, Published, Spelling, Weights, under_our_names

_HUB = "https://huggingface.co/google"


def from_diffusers(weights: Weights, network: UNet) -> dict[str, Tensor]:
    """The state dict of a diffusers `UNet2DModel` as one for this network; raises InputError as under_our_names does."""
    return under_our_names(weights, DIFFUSERS_UNET, network, "diffusers")


SPELLINGS = (Spelling(UNet, "down_blocks.", from_diffusers),)
WEIGHTS = (
    Published("ddpm-cifar10", "CIFAR-10", "diffusers", f"{_HUB}/ddpm-cifar10-32", "Apache-2.0"),
    Published("ddpm-256", "CelebA-HQ", "diffusers", f"{_HUB}/ddpm-celebahq-256", "Apache-2.0"),
    Published("ddpm-256", "CelebA-HQ, averaged", "diffusers", f"{_HUB}/ddpm-ema-celebahq-256", "Apache-2.0"),
    Published("ddpm-256", "LSUN bedrooms, averaged", "diffusers", f"{_HUB}/ddpm-ema-bedroom-256", "Apache-2.0"),
    Published("ddpm-256", "LSUN churches, averaged", "diffusers", f"{_HUB}/ddpm-ema-church-256", "Apache-2.0"),
    Published("ddpm-256", "LSUN cats", "diffusers", f"{_HUB}/ddpm-cat-256", "Apache-2.0"),
)
