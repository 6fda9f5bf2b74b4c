"""Schedules of T betas; beta runs from beta_start to beta_end whatever T is, where it is stated so.

The ends of LDM's differ by model: 0.0015 to 0.0195 for CelebA-HQ, FFHQ, bedrooms and ImageNet, 0.00085 to 0.012 for the
text-to-image model and Stable Diffusion, which is the default here.
"""

import math
from typing import Any

import torch

from replication.diffusion.schedule import DiscreteSchedule, ZeroTerminalSchedule, capped_betas, check_steps
from replication.registry import SCHEDULES
from replication.types import InputError


@SCHEDULES.register("linear")
class Linear(DiscreteSchedule):
    """Betas evenly spaced from beta_start to beta_end, both included: DDPM's own (Ho et al. 2020, section 4).

    At T = 1000 the last alpha_bar is 4.0e-5.
    """

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        check_steps(T)
        super().__init__(torch.linspace(beta_start, beta_end, T, dtype=torch.float64))


@SCHEDULES.register("scaled_linear", "quadratic")
class ScaledLinear(DiscreteSchedule):
    """sqrt(beta) evenly spaced, both ends included: LDM's own, also known as quadratic (Rombach et al. 2022).

    LDM's configuration calls it "linear".
    """

    def __init__(self, T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012):
        check_steps(T)
        super().__init__(torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2)


@SCHEDULES.register("const")
class Const(DiscreteSchedule):
    """Every beta is `beta`, as `const` of the official DDPM code (Ho et al. 2020); the last alpha_bar is 1.7e-9."""

    def __init__(self, T: int = 1000, beta: float = 0.02):
        check_steps(T)
        super().__init__(torch.full((T,), beta, dtype=torch.float64))


class Warmup(DiscreteSchedule):
    """From beta_start to beta_end over the first int(fraction T) steps, both ends included, then beta_end."""

    fraction: float

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        check_steps(T)
        climb = torch.linspace(beta_start, beta_end, int(T * self.fraction), dtype=torch.float64)
        super().__init__(torch.cat([climb, torch.full((T - len(climb),), beta_end, dtype=torch.float64)]))


@SCHEDULES.register("warmup10")
class Warmup10(Warmup):
    """Betas climb for a tenth of the steps and then stay: `warmup10` of the official DDPM code (Ho et al. 2020)."""

    fraction = 0.1


@SCHEDULES.register("warmup50")
class Warmup50(Warmup):
    """Betas climb for half of the steps and then stay: `warmup50` of the official DDPM code (Ho et al. 2020)."""

    fraction = 0.5


@SCHEDULES.register("sigmoid_beta")
class SigmoidBeta(DiscreteSchedule):
    """Betas rise along a sigmoid over [-6, 6] (Xu et al. 2022, GeoDiff); diffusers calls it "sigmoid"."""

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        check_steps(T)
        rise = torch.sigmoid(torch.linspace(-6, 6, T, dtype=torch.float64))
        super().__init__(beta_start + (beta_end - beta_start) * rise)


@SCHEDULES.register("cosine")
class Cosine(DiscreteSchedule):
    """alpha_bar falls as cos^2((u + s)/(1 + s) pi/2), each beta capped (Nichol and Dhariwal 2021, equation 17).

    At T = 1000 only the last beta meets the cap, and the last alpha_bar is 2.4e-9.
    """

    def __init__(self, T: int = 1000, s: float = 0.008, max_beta: float = 0.999):
        check_steps(T)
        u = torch.arange(T + 1, dtype=torch.float64) / T
        f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
        super().__init__(capped_betas(f, max_beta))


@SCHEDULES.register("sigmoid")
class Sigmoid(DiscreteSchedule):
    """alpha_bar falls along a sigmoid (Jabri et al. 2022, RIN, appendix; Chen 2023, section 3).

    alpha_bar(u) = (g(1) - g(u)) / (g(1) - g(0)), g(u) = sigmoid((start + u (end - start)) / tau).
    alpha_bar would reach 0 at u = 1, so the last beta is capped at `max_beta`, as for cosine. What diffusers calls "sigmoid"
    is sigmoid_beta here. Raises InputError unless start < end and tau > 0.
    """

    def __init__(self, T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999):
        check_steps(T)
        if not (start < end and tau > 0):
            raise InputError(f"sigmoid needs start < end and tau > 0, not start = {start}, end = {end}, tau = {tau}")
        g = torch.sigmoid(torch.linspace(start, end, T + 1, dtype=torch.float64) / tau)
        super().__init__(capped_betas((g[-1] - g) / (g[-1] - g[0]), max_beta))


@SCHEDULES.register("jsd")
class JSD(ZeroTerminalSchedule):
    """Betas 1/T, 1/(T-1), ..., 1/2, 1: alpha_bar falls on a line to 0 (Sohl-Dickstein et al. 2015, section 2.4.1).

    `jsd` of the official DDPM code. InputError for T = 1.
    """

    def __init__(self, T: int = 1000):
        check_steps(T)
        super().__init__(1 / torch.arange(T, 0, -1, dtype=torch.float64))


@SCHEDULES.register("zero_terminal_snr")
class ZeroTerminalSNR(ZeroTerminalSchedule):
    """A discrete schedule, `base`, rescaled to end without signal (Lin et al. 2023, arXiv:2305.08891, algorithm 1).

    base: the name of a discrete schedule, or { name = ..., and its options but T }, e.g. { name = "cosine", s = 0.01 }.
    sqrt(alpha_bar) is shifted so that its last value is 0 and scaled so that its first one stays. The eps parameterization
    says nothing at t = 1 then: train with v or x0, and sample with a spacing that begins at t = 1 (trailing, linspace).

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
