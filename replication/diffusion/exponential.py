"""Exponential integrators in lam = half_log_snr: the linear part of the sampling ODE is solved exactly on any path.

    h = lam_s - lam_t >= 0, infinite on a step from alpha = 0 or to sigma = 0
    x_s = (sigma_s/sigma_t) x_t + alpha_s (1 - e^-h) x0       if x0 is held     Lu et al. 2022b (DPM-Solver++), equation 8
    x_s = alpha_s x0 + sigma_s eps                            if eps is held    Lu et al. 2022a (DPM-Solver), equation 3.4

What a solver holds is its estimate of the average over the step, r = 0 at t and r = 1 at s, of the polynomial through
the values that it knows, the weight being e^((1 - r) z): z is -h for x0 and +h for eps. Solvers differ in where they
know a value (in the past, inside the step, at its end), and in whether they simplify the weight (z = 0: uniform).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction

Node = tuple[Tensor | float, Tensor]  # a place on the axis of integration, and the value known there


def log_snr_step(schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Tensor:
    """h = lam_s - lam_t for scalar times t >= s; 0 where they are equal, at the infinite ends too."""
    return torch.zeros_like(t) if t == s else schedule.half_log_snr(s) - schedule.half_log_snr(t)


def hold_x0(schedule: NoiseSchedule, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, eta: float = 0.0) -> Tensor:
    """x_s [B,C,H,W] if x0 stays the same from t to s; for eta > 0 the mean of it under the reverse SDE."""
    h = log_snr_step(schedule, t, s)
    if h == 0:
        return x_t
    damped = torch.exp(-eta * h) if eta > 0 else 1.0
    return damped * schedule.sigma(s) / schedule.sigma(t) * x_t - schedule.alpha(s) * torch.expm1(-(1 + eta) * h) * x0


def hold_eps(schedule: NoiseSchedule, prediction: Prediction, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """x_s [B,C,H,W] if eps stays the same from t to s: DDIM's step when it is the prediction's own.

    From alpha_t = 0 no other eps can be held, because x_t says nothing of x0 there.
    """
    x0 = prediction.x0
    if eps is not prediction.eps:
        x0 = x0 + torch.exp(-schedule.half_log_snr(t)) * (prediction.eps - eps)
    return schedule.alpha(s) * x0 + schedule.sigma(s) * eps


def average(nodes: Sequence[Node], length: Tensor | float, moments: Sequence[float]) -> Tensor:
    """The average over a step of the polynomial through the nodes; nodes[0] is where the step begins.

    `moments[i - 1]` is the average of r^i over the step. Where `length` is zero or infinite no polynomial is defined,
    and the answer is the first value itself.
    """
    (start, value), *others = nodes
    if not others or length == 0 or math.isinf(length):
        return value
    r = torch.tensor([(place - start) / length for place, _ in others], dtype=torch.float64)
    powers = r ** torch.arange(1, len(others) + 1)[:, None]
    weights = torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64))
    return value + sum((w * (other - value) for w, (_, other) in zip(weights, others, strict=True)))


def moments(z: Tensor | float, n: int) -> list[float]:
    """The averages of r, r^2, ..., r^n over [0, 1] under the weight e^((1 - r) z); 1/2, 1/3, ... for z = 0."""
    if math.isinf(z):  # all the weight lies at one end
        return [1.0 if z < 0 else 0.0] * n
    return [math.factorial(i) * phi(i + 1, float(z)) / phi(1, float(z)) for i in range(1, n + 1)]


def phi(k: int, z: float) -> float:
    """sum_j z^j / (j + k)!: e^z for k = 0, (e^z - 1)/z for k = 1 (Hochbruck and Ostermann 2010, equation 2.10)."""
    if abs(z) < 1:  # the recursion below would cancel
        return sum(z**j / math.factorial(j + k) for j in range(20))
    return math.exp(z) if k == 0 else (phi(k - 1, z) - 1 / math.factorial(k - 1)) / z
