"""Published weights of DDPM: google's copies of the official checkpoints on the Hugging Face Hub, under our names.

Their files have `down_blocks.1.resnets.0.conv1.weight` where ours have `down.1.blocks.0.conv1.weight`; the tensors are the
same. The official TensorFlow checkpoints are not read.
"""

from replication.layers.unet import UNet
from replication.layers.weights import DIFFUSERS_UNET, Published, Spelling, by_table, unet_options

_HUB = "https://huggingface.co/google"
from_diffusers = by_table(DIFFUSERS_UNET)  # of a `UNet2DModel`

SPELLINGS = (Spelling(UNet, "diffusers", "down_blocks.", from_diffusers, unet_options),)
WEIGHTS = (
    Published("ddpm-cifar10", "CIFAR-10", "diffusers", f"{_HUB}/ddpm-cifar10-32", "Apache-2.0"),
    Published("ddpm-256", "CelebA-HQ", "diffusers", f"{_HUB}/ddpm-celebahq-256", "Apache-2.0"),
    Published("ddpm-256", "CelebA-HQ, averaged", "diffusers", f"{_HUB}/ddpm-ema-celebahq-256", "Apache-2.0"),
    Published("ddpm-256", "LSUN bedrooms, averaged", "diffusers", f"{_HUB}/ddpm-ema-bedroom-256", "Apache-2.0"),
    Published("ddpm-256", "LSUN churches, averaged", "diffusers", f"{_HUB}/ddpm-ema-church-256", "Apache-2.0"),
    Published("ddpm-256", "LSUN cats", "diffusers", f"{_HUB}/ddpm-cat-256", "Apache-2.0"),
)
