"""Euler's and Heun's methods on d(x/alpha)/d(sigma/alpha) = eps: Karras et al. 2022 (EDM), algorithms 1 and 2.

Without churn Euler's is DDIM with eta 0, on any path, and on the straight-line path x_s = x_t + (s - t) velocity. Heun's step
to sigma = 0 is Euler's, as published, so N steps that end there take 2N - 1 evaluations. So is the step from alpha = 0, where
sigma/alpha is infinite.

Churn goes back in time by a little fresh noise before each step (algorithm 2, lines 4 to 6):
gamma = min(S_churn / N, sqrt(2) - 1) while S_tmin <= sigma/alpha <= S_tmax, and then sigma/alpha grows by 1 + gamma. It
never grows beyond the schedule's own end, where the paper would ask the network for noise it has not seen.
"""

import math

import torch
from torch import Tensor

from replication.diffusion.exponential import hold_eps, log_snr_step
from replication.diffusion.forward import transition
from replication.diffusion.sampler import DenoiseAt, Noise, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import InputError


@SAMPLERS.register("euler")
class Euler(Sampler):
    """Euler's method in sigma/alpha, with or without churn (Karras et al. 2022, EDM, algorithm 1).

    S_churn, S_tmin, S_tmax, S_noise: of the churn; S_churn 0, the default, is none, and makes it deterministic. The network
    is asked at the churned time, as k-diffusion does. InputError for negative numbers, and for churn without the times.
    """

    order, evals_per_step, corrects = 1, 1, False

    def __init__(self, S_churn: float = 0.0, S_tmin: float = 0.0, S_tmax: float = math.inf, S_noise: float = 1.0):
        options = {"S_churn": S_churn, "S_tmin": S_tmin, "S_tmax": S_tmax, "S_noise": S_noise}
        for name, value in options.items():
            if not value >= 0:
                raise InputError(f"{name} must not be negative, not {value!r}")
        self.S_churn, self.S_tmin, self.S_tmax, self.S_noise = S_churn, S_tmin, S_tmax, S_noise
        self.stochastic = S_churn > 0

    def init(self, times: Tensor | None = None) -> float:
        """gamma, where the noise is within the limits: it depends on the number of steps."""
        if times is None and self.stochastic:
            raise InputError("churn depends on the number of steps: init needs the times")
        return 0.0 if times is None else min(self.S_churn / (len(times) - 1), math.sqrt(2) - 1)

    def step(
        self, denoise: DenoiseAt, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, state: float
    ) -> tuple[Tensor, float]:
        x, back = self.churn(schedule, x_t, t, s, noise, state)
        here = denoise(x, back)
        x_s = hold_eps(schedule, here, here.eps, back, s)
        if not self.corrects or log_snr_step(schedule, t, s).isinf():
            return x_s, state
        there = denoise(x_s, s)
        return hold_eps(schedule, here, (here.eps + there.eps) / 2, back, s), state

    def churn(
        self, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Tensor | None, gamma: float
    ) -> tuple[Tensor, Tensor]:
        """(x, time) to step from: further from the data than (x_t, t) by the fresh noise."""
        lam = schedule.half_log_snr(t)
        within = self.S_tmin <= torch.exp(-lam) <= self.S_tmax
        if noise is None or gamma == 0 or t == s or lam.isinf() or not within:  # at alpha = 0 all is noise already
            return x_t, t
        back = schedule.time_at(torch.maximum(lam - math.log1p(gamma), schedule.half_log_snr(torch.ones_like(t))))
        scale, variance = transition(schedule, t, back)
        return scale * x_t + variance.sqrt() * self.S_noise * noise, back


@SAMPLERS.register("heun")
class Heun(Euler):
    """Heun's method in sigma/alpha: order 2, with or without churn (Karras et al. 2022, EDM, algorithms 1 and 2).

    S_churn, S_tmin, S_tmax, S_noise: see Euler; S_churn 0, the default, is algorithm 1.
    """

    order, evals_per_step, corrects = 2, 2, True
