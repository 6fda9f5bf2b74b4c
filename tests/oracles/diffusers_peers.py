"""diffusers, an independent implementation: its U-Net under a published configuration, its samplers fed our noise."""

from collections.abc import Callable, Sequence
from unittest import mock

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule

Noise = Callable[[int, Sequence[int]], Tensor]
Eps = Callable[[Tensor, Tensor], Tensor]  # (x_t, timestep[B]) -> eps


def peer_unet(
    resolution: int,
    channels: int,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    groups: int,
) -> UNet2DModel:
    """The U-Net that google/ddpm-cifar10-32 and its siblings are published for, in our vocabulary of arguments."""
    attends = [resolution >> i in attention for i in range(len(multipliers))]
    return UNet2DModel(
        sample_size=resolution,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=[width * m for m in multipliers],
        layers_per_block=blocks,
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        norm_num_groups=groups,
        norm_eps=1e-6,
        attention_head_dim=None,  # a single head
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )


def peer_ancestral(
    schedule: DiscreteSchedule, eps: Eps, steps: int, x_T: Tensor, noise: Noise, variance: str, clip: bool
) -> Tensor:
    """diffusers' DDPM sampler, "leading" times; variance: fixed_large or fixed_small. `noise(i, shape)` is step i's."""
    peer = _in_float64(DDPMScheduler, schedule, variance_type=variance, clip_sample=clip)
    peer.set_timesteps(steps)
    x = x_T
    for i, k in enumerate(peer.timesteps):
        drawn = noise(i, x.shape)
        with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", return_value=drawn):
            x = peer.step(eps(x, k.double().expand(len(x))), k, x).prev_sample
    return x


def peer_ddim(
    schedule: DiscreteSchedule,
    eps: Eps,
    steps: int,
    x_T: Tensor,
    noise: Noise,
    eta: float,
    clip: bool = False,
    rederive: bool = False,
) -> Tensor:
    """diffusers' DDIM sampler, "leading" times, ending at alpha 1; rederive: eps is made anew from the clipped x0."""
    peer = _in_float64(DDIMScheduler, schedule, clip_sample=clip, set_alpha_to_one=True)
    peer.set_timesteps(steps)
    x = x_T
    for i, k in enumerate(peer.timesteps):
        drawn = noise(i, x.shape) if eta > 0 else None
        output = eps(x, k.double().expand(len(x)))
        x = peer.step(output, k, x, eta=eta, use_clipped_model_output=rederive, variance_noise=drawn).prev_sample
    return x


def _in_float64(peer: type, schedule: DiscreteSchedule, **options: object) -> DDPMScheduler | DDIMScheduler:
    """A peer on our betas; it would keep them in float32, which 1000 steps turn into differences that are not ours."""
    made = peer(num_train_timesteps=schedule.T, trained_betas=schedule.betas.tolist(), **options)
    made.betas = schedule.betas
    made.alphas = 1 - made.betas
    made.alphas_cumprod = torch.cumprod(made.alphas, dim=0)
    made.one = torch.ones((), dtype=torch.float64)
    return made
