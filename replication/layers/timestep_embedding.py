"""The sinusoidal embedding of a timestep, in the two conventions of the official codes.

Their weights are not compatible: DDPM has sin before cos and divisor half - 1; IDDPM, ADM, LDM and DiT have cos before
sin and divisor half.
"""

import math

import torch
from torch import Tensor


def timestep_embedding(timestep: Tensor, dim: int, cos_first: bool = False) -> Tensor:
    """Float[B] -> Float[B,dim] at frequencies 10000^(-i / divisor), i below half = dim // 2."""
    half = dim // 2
    exponents = torch.arange(half, device=timestep.device) / (half if cos_first else half - 1)
    angles = timestep.float()[:, None] * torch.exp(exponents * -math.log(10000))[None]
    waves = [angles.cos(), angles.sin()] if cos_first else [angles.sin(), angles.cos()]
    return torch.cat(waves, dim=1).to(timestep.dtype)
