"""Churn: go back in time by a little fresh noise before each step. Karras et al. 2022 (EDM), algorithm 2, lines 4 to 6.

gamma = min(S_churn / N, sqrt(2) - 1) while S_tmin <= sigma/alpha <= S_tmax, and then sigma/alpha grows by 1 + gamma.
It never grows beyond the schedule's own end, where the paper would ask the network for noise it has not seen.
"""

import math

import torch
from torch import Tensor

from replication.diffusion.forward import transition
from replication.diffusion.sampler import Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.types import InputError


class Churned(Sampler):
    """A sampler that churns first; S_churn 0 makes it deterministic. InputError for negative numbers and no N."""

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
