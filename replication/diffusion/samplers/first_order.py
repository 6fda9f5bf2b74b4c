"""Ancestral sampling, Ho et al. 2020 (DDPM), algorithm 2, between any two times, and DDIM, Song et al. 2021.

    x_s = mean of q(x_s|x_t, x0) + sqrt(variance) noise,   and no noise on the step to t = 0, or from t to t itself

With variance fixed-large on a subset of the times this is the row that the DDIM paper calls sigma-hat (its Table 1).
x0 is clipped, if at all, before the mean is made of it: the denoiser does that (`clip="x0"`). A classifier's gradient g then
moves the mean by variance * g (Dhariwal and Nichol 2021, algorithm 1), on the last step too.

    x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c noise,   c = eta * (standard deviation of q(x_s|x_t,x_0))   (DDIM)
"""

from typing import Any

from torch import Tensor

from replication.diffusion.forward import VARIANCES, posterior, reverse_variance
from replication.diffusion.sampler import DenoiseAt, Noise, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS, one_of
from replication.types import InputError, per_image


@SAMPLERS.register("ancestral")
class Ancestral(Sampler):
    """DDPM's own: the mean of q(x_s|x_t, x0) and fresh noise, between any two times (Ho et al. 2020, algorithm 2).

    variance: fixed-large, fixed-small or learned; raises InputError for another.
    """

    order, stochastic, evals_per_step = 1, True, 1
    takes_gradient = True

    def __init__(self, variance: str = "fixed-large"):
        self.variance = one_of("variance", variance, VARIANCES)

    def step(
        self, denoise: DenoiseAt, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, state: Any
    ) -> tuple[Tensor, Any]:
        prediction = denoise(x_t, t)
        mean, posterior_variance = posterior(schedule, x_t, prediction.x0, t, s)
        gradient = None if s == t else prediction.gradient
        quiet = noise is None or s == 0 or s == t  # where s = t, the mean is x_t and a learned variance has no say
        if quiet and gradient is None:
            return mean, state
        variance = reverse_variance(self.variance, prediction, posterior_variance, schedule, t, s)
        if gradient is not None:
            mean = mean + variance * gradient
        return (mean if quiet or noise is None else mean + variance.sqrt() * noise), state


@SAMPLERS.register("ddim")
class DDIM(Sampler):
    """DDIM, deterministic at eta 0, ancestral fixed-small at eta 1 (Song et al. 2021, equations 12 and 16).

    eta 0 is of order 1. InputError outside [0, 1].
    """

    order, evals_per_step = 1, 1

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise InputError(f"eta must be in [0, 1], not {eta!r}")
        self.eta = eta
        self.stochastic = eta > 0

    def step(
        self, denoise: DenoiseAt, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, state: Any
    ) -> tuple[Tensor, Any]:
        x0, eps = denoise(x_t, t)[:2]
        variance = self.eta**2 * posterior(schedule, x_t, x0, t, s)[1]
        alpha, direction = schedule.alpha(s), (schedule.sigma(s) ** 2 - variance).sqrt()
        x_s = per_image(alpha, x_t) * x0 + per_image(direction, x_t) * eps
        return x_s if noise is None else x_s + per_image(variance.sqrt(), x_t) * noise, state


@SAMPLERS.register("dpm_1")
class DPM1(DDIM):
    """DPM-Solver-1, which the paper shows to be DDIM with eta 0 (Lu et al. 2022a, equation 3.7)."""

    def __init__(self) -> None:
        super().__init__(eta=0.0)


@SAMPLERS.register("euler_ancestral")
class EulerAncestral(DDIM):
    """k-diffusion's Euler ancestral: DDIM under another name, with eta 1 (Song et al. 2021, equation 12).

    An Euler step to less noise than s has, then fresh noise up to s, and the two are DDIM's numbers:
    up = eta sigma_s sqrt(1 - SNR_t/SNR_s), down^2 = sigma_s^2 - up^2. InputError for eta outside [0, 1].
    """

    def __init__(self, eta: float = 1.0):
        super().__init__(eta)
