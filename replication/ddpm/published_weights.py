"""Published weights of DDPM under our names: the official TensorFlow checkpoints, as two others carried them to PyTorch.

"official" is DDIM's code, in whose layout the checkpoints were first carried over, raw and averaged ones apart: it has
`down.1.block.0.conv1.weight` where ours is `down.1.blocks.0.conv1.weight`. diffusers has
`down_blocks.1.resnets.0.conv1.weight`; google's copy of CIFAR-10 on the Hub has the raw weights, whose FID is 12 and not
3.2. w86763777/pytorch-ddpm trained a network of its own (other sinusoids, padding and eps), which is not this one.
"""

from typing import Any

from torch import Tensor

from replication.layers.unet import UNet
from replication.layers.weights import (
    DIFFUSERS_UNET,
    HUB,
    LEVELS,
    Published,
    Spelling,
    Table,
    Weights,
    as_run,
    under_our_names,
)  # fmt: skip

_TIME: Table = ((r"^temb\.dense\.0\.", "embed.0."), (r"^temb\.dense\.1\.", "embed.2."), (r"\.temb_proj\.", ".embed."))


def from_official(weights: Weights, network: UNet) -> dict[str, Tensor]:
    """The state dict of DDIM's `Model` as one of this network; raises InputError as under_our_names does."""
    return under_our_names(as_run(weights, len(network.multipliers)), (*_TIME, *LEVELS), network, "DDIM's code")


SPELLINGS = (Spelling(UNet, "official", "temb.dense.", from_official), DIFFUSERS_UNET)
_PORTED = "none stated for the files; the official code and its weights state none"
_HEIBOX, _GOOGLE = "https://heibox.uni-heidelberg.de/f", f"{HUB}google"


def _ported(name: str, part: str, what: str, address: str, dataset: str, file: str) -> Published:
    """Carried over from the official checkpoint by pesser/pytorch_diffusion, whose ckpt_util.py has the addresses."""
    of: dict[str, Any] = {"dataset": dataset, "resolution": 32 if dataset == "cifar10" else 256, "file": file}
    return Published(name, part, what, "official", f"{_HEIBOX}/{address}/?dl=1", _PORTED, **of)


def _google(name: str, part: str, what: str, dataset: str = "") -> Published:
    of: dict[str, Any] = {"dataset": dataset, "resolution": 32 if dataset == "cifar10" else 256}
    return Published(name, part, what, "diffusers", f"{_GOOGLE}/{name}", "Apache-2.0", **of)


BEDROOMS, CHURCHES, FACES = "lsun-bedrooms-256", "lsun-churches-256", "celebahq-256"
WEIGHTS = (
    _ported(
        "ddpm-ema-cifar10", "ddpm-cifar10", "CIFAR-10, averaged", "2e4f01e2d9ee49bab1d5", "cifar10", "model-790000.ckpt"
    ),
    _ported(
        "ddpm-raw-cifar10", "ddpm-cifar10", "CIFAR-10, raw", "869980b53bf5416c8a28", "cifar10", "model-790000.ckpt"
    ),
    _ported(
        "ddpm-ema-bedrooms",
        "ddpm-256",
        "LSUN bedrooms, averaged",
        "b95206528f384185889b",
        BEDROOMS,
        "model-2388000.ckpt",
    ),
    _ported(
        "ddpm-ema-churches",
        "ddpm-256",
        "LSUN churches, averaged",
        "44ccb50ef3c6436db52e",
        CHURCHES,
        "model-4432000.ckpt",
    ),
    _ported("ddpm-ema-cats", "ddpm-256", "LSUN cats, averaged", "0701aac3aa69457bbe34", "", "model-1761000.ckpt"),
    _google("ddpm-cifar10-32", "ddpm-cifar10", "CIFAR-10, raw: FID 12", "cifar10"),
    _google("ddpm-celebahq-256", "ddpm-256", "CelebA-HQ", FACES),
    _google("ddpm-ema-celebahq-256", "ddpm-256", "CelebA-HQ, averaged", FACES),
    _google("ddpm-ema-bedroom-256", "ddpm-256", "LSUN bedrooms, averaged", BEDROOMS),
    _google("ddpm-ema-church-256", "ddpm-256", "LSUN churches, averaged", CHURCHES),
    _google("ddpm-bedroom-256", "ddpm-256", "LSUN bedrooms, raw", BEDROOMS),
    _google("ddpm-church-256", "ddpm-256", "LSUN churches, raw", CHURCHES),
    _google("ddpm-cat-256", "ddpm-256", "LSUN cats"),
    _google("ddpm-ema-cat-256", "ddpm-256", "LSUN cats, averaged"),
)
