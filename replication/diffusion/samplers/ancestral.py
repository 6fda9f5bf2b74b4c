"""Ancestral sampling: Ho et al. 2020 (DDPM), algorithm 2, between any two times.

    x_s = mean of q(x_s|x_t, x0) + sqrt(variance) noise,   and no noise on the step to t = 0, or from t to t itself

With variance fixed-large on a subset of the times this is the row that the DDIM paper calls sigma-hat (its Table 1).
x0 is clipped, if at all, before the mean is made of it: the denoiser does that (`clip="x0"`). A classifier's gradient g then
moves the mean by variance * g (Dhariwal and Nichol 2021, algorithm 1), on the last step too.
"""

from typing import Any

from torch import Tensor

from replication.diffusion.forward import VARIANCES, posterior, reverse_variance
from replication.diffusion.sampler import DenoiseAt, Noise, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS, one_of


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
