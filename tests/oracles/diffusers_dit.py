"""diffusers, an independent implementation: its DiT and the joint block of its Stable Diffusion 3."""

import torch
from diffusers import DiTTransformer2DModel

from oracles.networks import randomize
from replication.dit.model import DiT


def peer_dit(network: DiT, seed: int) -> DiTTransformer2DModel:
    """The peer of the same configuration with random weights, the copies of the embedders alike.

    Its sinusoids have divisor half - 1 where the official code has half: here they are given the official one.
    """
    peer = DiTTransformer2DModel(
        num_attention_heads=network.heads,
        attention_head_dim=network.width // network.heads,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_layers=network.depth,
        sample_size=network.resolution,
        patch_size=network.patch,
        num_embeds_ada_norm=network.classes,
        norm_eps=1e-6,
    ).eval()
    randomize(peer, seed)
    embedders = [block.norm1.emb for block in peer.transformer_blocks]
    for embedder in embedders:
        embedder.load_state_dict(embedders[0].state_dict())
        embedder.time_proj.downscale_freq_shift = 0
    return peer


def said_by(peer: torch.nn.Module, x: torch.Tensor, timestep: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Its answer [B,2C,H,W]."""
    with torch.no_grad():
        answer: torch.Tensor = peer(x, timestep, label).sample
    return answer
