"""Networks of the bench beside diffusers' of the same configuration and weights; diffusers is in the dev extra."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from replication.acceleration import Policy
from replication.bench.turns import Run
from replication.cost import Cost, measured
from replication.dit import published_weights as dit_weights
from replication.dit.model import DiT
from replication.layers.as_diffusers import adjust, configured, spelling_of
from replication.layers.unet import UNet
from replication.layers.weights import DIFFUSERS_UNET, unet_from_diffusers
from replication.numerics import Precision, numerics
from replication.registry import MODELS
from replication.types import InputError

DEFAULTS, BEST = "diffusers, defaults", "diffusers, best"
Network = TypeVar("Network", bound=nn.Module)
LATENT = "latent U-Net of width 64"  # of experiments/ldm.toml, profile gpu, at f = 2
_SIZES: Mapping[str, tuple[str, dict[str, Any]]] = {
    LATENT: (
        "ldm-unet",
        {
            "resolution": 16,
            "channels": 4,
            "width": 64,
            "multipliers": [1, 2, 2],
            "blocks": 2,
            "attention": [2, 4],
            "head_channels": 32,
        },
    )
}


class Pair(NamedTuple):
    """Our network and diffusers', on the CPU; None where diffusers is not installed."""

    network: DiT | UNet
    peer: nn.Module | None


def missing(peer: object) -> dict[str, str]:
    """Of diffusers' runs, those that there are not."""
    return {} if peer is not None else dict.fromkeys((DEFAULTS, BEST), "not installed")


def part_of(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of one of the bench's networks in the registry."""
    return _SIZES.get(name, (name, {}))


def build(name: str) -> DiT | UNet:
    """One of the bench's networks, with random weights."""
    part, options = part_of(name)
    network: DiT | UNet = MODELS.build(part, **options)
    return network


def pair(name: str) -> Pair:
    """Both with the same weights."""
    torch.manual_seed(0)
    network = build(name)
    peer = diffusers_dit(network) if isinstance(network, DiT) else diffusers_unet(network)
    if peer is not None:
        weights = peer.state_dict()
        if isinstance(network, DiT):
            network.load_state_dict(dit_weights.from_diffusers(weights, network))
        else:
            network.load_state_dict(unet_from_diffusers(weights, network))
    return Pair(network, peer)


def cost(name: str) -> Cost:
    """Of one image and one evaluation."""
    with torch.device("meta"):
        network = build(name)
        x = torch.empty(1, network.in_channels, network.resolution, network.resolution)
        return measured(network, x, torch.zeros(1), labels(network, 1))


def labels(network: nn.Module, n: int) -> Tensor | None:
    """Of n images, where it takes any."""
    return torch.arange(n) % network.classes if isinstance(network, DiT) else None


def ready(network: Network, device: torch.device) -> Network:
    """The network as it is evaluated: on the device, in channels_last."""
    network.to(device).to(memory_format=torch.channels_last).eval()
    return network


def plain(network: Network, device: torch.device) -> Network:
    """A copy on the device, as it comes."""
    copied = copy.deepcopy(network)
    copied.to(device).eval()
    return copied


def evaluation(run: Callable[..., Any], precision: Precision | None, device: torch.device, *given: Any) -> Run:
    """A call without gradients, in a precision, or as PyTorch comes."""

    @torch.no_grad()
    def evaluated() -> Any:
        with nullcontext() if precision is None else numerics(precision, device):
            return run(*given)

    return evaluated


def compiled(run: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """A network or a function of one, compiled where ours is."""
    return torch.compile(run) if Policy.compiles_on(device) else run


def diffusers_unet(network: UNet) -> nn.Module | None:
    """diffusers' network of the same configuration, under the conventions of DDPM's or of LDM's; None without diffusers."""
    try:
        model: nn.Module = configured(network, spelling_of(network, (DIFFUSERS_UNET,)))
    except InputError:
        return None
    return model


def diffusers_dit(network: DiT) -> nn.Module | None:
    """diffusers' network of the same configuration, its last layers not 0; None where diffusers is not installed.

    Its blocks share one embedder, whose sinusoids have the official divisor, half; diffusers' own is half - 1.
    """
    spelling = spelling_of(network, dit_weights.SPELLINGS)
    try:
        model: Any = configured(network, spelling)
    except InputError:
        return None
    adjust(model, spelling)
    for block in model.transformer_blocks:
        block.norm1.emb = model.transformer_blocks[0].norm1.emb
    peer: nn.Module = model
    return peer


def diffusers_decoder(width: int) -> Any:
    """An `AutoencoderKL` like Stable Diffusion's, 128 wide, with random weights; None where diffusers is not installed."""
    try:
        from diffusers import AutoencoderKL
    except ImportError:
        return None
    widths = [width * m for m in (1, 2, 4, 4)]
    return AutoencoderKL(
        block_out_channels=widths,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
    )
