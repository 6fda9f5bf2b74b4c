"""diffusers, an independent implementation: its DiT and the joint block of its Stable Diffusion 3."""

import torch
from diffusers.models.attention import JointTransformerBlock

from replication.bench.peers import diffusers_dit
from replication.check.models import randomize
from replication.dit.mm_dit import JointBlock
from replication.dit.model import DiT


def peer_dit(network: DiT, seed: int) -> torch.nn.Module:
    """The bench's peer of the same configuration, with random weights."""
    peer = diffusers_dit(network)
    assert peer is not None
    randomize(peer.eval(), seed)
    return peer


def said_by(peer: torch.nn.Module, x: torch.Tensor, timestep: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Its answer [B,2C,H,W]."""
    with torch.no_grad():
        answer: torch.Tensor = peer(x, timestep, label).sample
    return answer


def peer_joint_block(block: JointBlock, width: int, last: bool) -> JointTransformerBlock:
    """The peer with our block's weights; its last block's text modulation says scale before shift."""
    peer = JointTransformerBlock(width, block.image.heads, width // block.image.heads, last, qk_norm="rms_norm").eval()
    streams = (
        (block.image, "norm1", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"), "to_out.0", "ff"),
        (
            block.text,
            "norm1_context",
            ("add_q_proj", "add_k_proj", "add_v_proj"),
            ("norm_added_q", "norm_added_k"),
            "to_add_out",
            "ff_context",
        ),
    )
    weights = {}
    for stream, modulation, projections, norms, out, mlp in streams:
        ours = stream.state_dict()
        for kind in ("weight", "bias"):
            modulated = ours[f"modulation.project.{kind}"]
            if stream is block.text and last:
                modulated = torch.cat(modulated.chunk(2)[::-1])
            weights[f"{modulation}.linear.{kind}"] = modulated
            for name, part in zip(projections, ours[f"qkv.{kind}"].chunk(3), strict=True):
                weights[f"attn.{name}.{kind}"] = part
            if f"out.{kind}" in ours:
                weights[f"attn.{out}.{kind}"] = ours[f"out.{kind}"]
                weights[f"{mlp}.net.0.proj.{kind}"], weights[f"{mlp}.net.2.{kind}"] = (
                    ours[f"mlp.0.{kind}"],
                    ours[f"mlp.2.{kind}"],
                )
        for name, part in zip(norms, "qk", strict=True):
            weights[f"attn.{name}.weight"] = ours[f"qk_norm.{part}.weight"]
    peer.load_state_dict(weights)
    return peer
