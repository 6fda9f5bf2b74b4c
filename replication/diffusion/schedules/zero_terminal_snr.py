"""A discrete schedule rescaled to end without signal: Lin et al. 2023 (arXiv:2305.08891), algorithm 1.

sqrt(alpha_bar) is shifted so that its last value is 0 and scaled so that its first one stays. The eps parameterization
says nothing at t = 1 then: train with v or x0, and sample with a spacing that begins at t = 1 (trailing, linspace).
"""

from typing import Any

import torch

from replication.diffusion.schedule import DiscreteSchedule, ZeroTerminalSchedule
from replication.registry import SCHEDULES
from replication.types import InputError


@SCHEDULES.register("zero_terminal_snr")
class ZeroTerminalSNR(ZeroTerminalSchedule):
    """A discrete schedule, `base`, rescaled to end without signal (Lin et al. 2023, algorithm 1).

    base: the name of a discrete schedule, or { name = ..., and its options but T }, e.g. { name = "cosine", s = 0.01 }.

    Raises InputError for a base that is unknown, continuous, or has a single step.
    """

    def __init__(self, T: int = 1000, base: str | dict[str, Any] = "scaled_linear"):
        options = {"name": base} if isinstance(base, str) else dict(base)
        if "T" in options:
            raise InputError("T is an option of zero_terminal_snr, not of its base")
        schedule = SCHEDULES.build(options.pop("name", ""), T=T, **options)
        if not isinstance(schedule, DiscreteSchedule) or schedule.T < 2:
            raise InputError(f"base = {base!r}: only a discrete schedule of two steps or more can be rescaled")
        root = schedule.alphas_cumprod.sqrt()
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        alpha_bar = torch.cat([torch.ones(1).double(), root**2])
        super().__init__(1 - alpha_bar[1:] / alpha_bar[:-1])
