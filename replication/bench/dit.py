"""DiT's forward pass beside diffusers' with the same weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from replication.bench.turns import in_turns, milliseconds, ratio
from replication.dit.model import DiT
from replication.dit.published_weights import from_diffusers
from replication.registry import MODELS
from replication.report.tables import markdown

TURNS = 15
DITS = ("dit-s/2", "dit-b/4")


def bench_dit(device: torch.device) -> str:
    """Milliseconds per image of our DiT's forward pass and of diffusers' with the same weights; a ratio above 1 is ours.

    The largest difference is between the two answers, once theirs has the official sinusoids (dit/published_weights.py).
    """
    batch = 64 if device.type == "cuda" else 2
    lines = []
    for name in DITS:
        torch.manual_seed(0)
        network = MODELS.build(name)
        reference = diffusers_dit(network)
        what = f"{name}, batch {batch}, {torch.get_num_threads()} threads"
        if reference is None:
            lines.append([what, "", "not installed", "", ""])
            continue
        network.load_state_dict(from_diffusers(reference.state_dict(), network))
        lines.append([what, *_line(network.to(device).eval(), reference.to(device).eval(), batch, device)])
    return markdown(["DiT's forward", "ours, ms/image", "diffusers', ms/image", "ratio", "largest difference"], lines)


@torch.no_grad()
def _line(network: DiT, reference: nn.Module, batch: int, device: torch.device) -> list[str]:
    x = torch.randn(batch, network.in_channels, network.resolution, network.resolution, device=device)
    timestep, label = torch.full((batch,), 500.0, device=device), torch.arange(batch, device=device)
    runs: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: network(x, timestep, label),
        "diffusers": lambda: reference(x, timestep, label).sample,
    }
    seconds = in_turns(runs, device, TURNS, warmups=2)
    times = [f"{milliseconds(taken, batch):.2f}" for taken in seconds.values()]
    difference = (runs["ours"]() - runs["diffusers"]()).abs().max()
    return [*times, f"{ratio(seconds['diffusers'], seconds['ours']):.2f}", f"{float(difference):.0e}"]


def diffusers_dit(network: DiT) -> nn.Module | None:
    """diffusers' network of the same configuration, its last layers not 0; None where diffusers is not installed.

    Its blocks share one embedder, whose sinusoids have the official divisor, half; diffusers' own is half - 1.
    """
    try:
        from diffusers import DiTTransformer2DModel
    except ImportError:
        return None
    reference = DiTTransformer2DModel(
        num_attention_heads=network.heads,
        attention_head_dim=network.width // network.heads,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_layers=network.depth,
        sample_size=network.resolution,
        patch_size=network.patch,
        num_embeds_ada_norm=network.classes,
        norm_eps=1e-6,
    )
    embedder = reference.transformer_blocks[0].norm1.emb
    embedder.time_proj.downscale_freq_shift = 0
    for block in reference.transformer_blocks:
        block.norm1.emb = embedder
    return reference
