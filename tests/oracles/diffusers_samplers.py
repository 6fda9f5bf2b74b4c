"""diffusers' samplers, an independent implementation, on our times, our noise and in float64.

A peer keeps betas and sigmas in float32, interpolates some of them, and rounds the image to float32 inside `step`. None
of that is the update rule, so the adapters give it the numbers of our schedule instead. The network's output goes to
the peer as it is: what it means (epsilon, sample, v_prediction) the peer works out for itself.
"""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from diffusers import (
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
)
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule, NoiseSchedule

Noise = Callable[[int, Sequence[int]], Tensor]
Raw = Callable[[Tensor, Tensor], Tensor]  # (x_t, timestep[B]) -> the network's output

PREDICTION_TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
IN_SIGMA = (EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler)


class PaperDPMSolver3(DPMSolverSinglestepScheduler):
    """diffusers' DPM-Solver-3 with the inner stage of the paper's algorithm 2, which it has under the name "heun"."""

    def singlestep_dpm_solver_second_order_update(self, *args: Any, **options: Any) -> Tensor:
        self.register_to_config(solver_type="heun")
        answer = super().singlestep_dpm_solver_second_order_update(*args, **options)
        self.register_to_config(solver_type="midpoint")
        return answer


def on_betas(peer: type, schedule: DiscreteSchedule, parameterization: str = "eps", **options: Any) -> Any:
    """A peer on our betas, in float64."""
    prediction = PREDICTION_TYPES[parameterization]
    made = peer(
        num_train_timesteps=schedule.T, trained_betas=schedule.betas.tolist(), prediction_type=prediction, **options
    )
    made.betas, made.alphas = schedule.betas, 1 - schedule.betas
    made.alphas_cumprod = torch.cumprod(made.alphas, dim=0)
    if hasattr(made, "one"):
        made.one = torch.ones((), dtype=torch.float64)
    if hasattr(made, "final_alpha_cumprod"):
        made.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    return made


def visited(peer: Any, schedule: DiscreteSchedule, end: float = 0.0) -> Tensor:
    """The times [N+1] of the peer's own timesteps, rounded to whole ones, each once, and the end."""
    indices = torch.as_tensor(peer.timesteps).double().round().unique().flip(0)
    return torch.cat([(indices + 1) / schedule.T, torch.tensor([end], dtype=torch.float64)])


def peer_by_index(peer: Any, raw: Raw, x_T: Tensor, noise: Noise, **step: Any) -> Tensor:
    """A peer that looks its coefficients up by timestep (DDPM, DDIM, PNDM), after its own set_timesteps."""
    x = x_T
    for i, k in enumerate(peer.timesteps):
        with mock.patch(f"{type(peer).__module__}.randn_tensor", return_value=noise(i, x.shape), create=True):
            x = peer.step(raw(x, k.double().expand(len(x))), k, x, **step).prev_sample
    return x


def peer_by_sigma(
    peer: Any, schedule: NoiseSchedule, raw: Raw, times: Tensor, x_T: Tensor, noise: Noise, **step: Any
) -> Tensor:
    """A peer that looks its coefficients up by position in its list of sigmas: the whole list, ends included, is ours.

    times: every time at which the network is asked, and the end. Some keep x/alpha and others x.
    """
    scaled, alpha = isinstance(peer, IN_SIGMA), schedule.alpha(times)
    peer.set_timesteps(len(times) - 1)
    sigmas, timesteps = schedule.sigma(times), schedule.timestep(times[:-1])
    if not getattr(peer.config, "use_flow_sigmas", False):
        sigmas = sigmas / alpha
    if isinstance(peer, HeunDiscreteScheduler):  # asks twice at all but the first time
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
    peer.sigmas, peer.timesteps = sigmas, timesteps
    peer.set_begin_index(0)
    x = x_T / alpha[0] if scaled else x_T
    for i, k in enumerate(timesteps):
        output = raw(peer.scale_model_input(x, k), k.expand(len(x)))
        drawn = mock.patch(f"{type(peer).__module__}.randn_tensor", return_value=noise(i, x.shape), create=True)
        with drawn, mock.patch("torch.float32", torch.float64):
            x = peer.step(output, k, x, **step).prev_sample
    return x * alpha[-1] if scaled else x
