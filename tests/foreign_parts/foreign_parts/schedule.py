"""A variance-preserving path off the betas: alpha = 1 - t^2."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from replication.diffusion.schedule import NoiseSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("foreign-parabola")
class Parabola(NoiseSchedule):
    """alpha = 1 - t^2 and sigma = sqrt(1 - alpha^2), for tests (2026)."""

    version = 1

    def __init__(self, T: int = 1000):
        check_steps(T)
        self.T = T

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double() ** 2

    def sigma(self, t: Tensor) -> Tensor:
        return t.double() * (2 - t.double() ** 2).sqrt()  # 1 - alpha^2 = t^2 (2 - t^2)

    def _time_at(self, lam: Tensor) -> Tensor:
        return (-torch.expm1(0.5 * logsigmoid(2 * lam))).sqrt()  # alpha^2 = sigmoid(2 lam)
