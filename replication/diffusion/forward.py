"""The forward process, for any path x_t = alpha x_0 + sigma eps, and the variance of the reverse step.

Ho et al. 2020, equations 2, 4, 6 and 7:

    lam       half_log_snr: log(alpha / sigma)
    q(x_t|x_0)      = N(alpha_t x_0, sigma_t^2)
    q(x_t|x_s)      = N(alpha_t/alpha_s x_s, sigma_{t|s}^2),  sigma_{t|s}^2 = sigma_t^2 (1 - exp(2 (lam_t - lam_s)))
    q(x_s|x_t,x_0)  = N(mean, sigma_s^2 (1 - exp(2 (lam_t - lam_s))))

Written in lam the differences keep full precision, and s = 0 (lam = inf) needs no special case.

The variance of the reverse step p(x_s|x_t), by its published name (Ho et al. 2020, section 3.2).

fixed-large   sigma_{t|s}^2, beta_t on consecutive steps: the official CIFAR-10 default, and DDIM's sigma-hat
fixed-small   the variance of q(x_s|x_t,x_0), beta-tilde_t on consecutive steps
learned       the network's own output, read as its denoiser's `variance` has it (LEARNED):
    learned        the log-variance itself (Ho et al. 2020, Table 2, "learned diagonal")
    learned-range  v in [-1, 1], the place between log fixed-small and log fixed-large (Nichol and Dhariwal 2021, eq. 15)
"""

import torch
from torch import Tensor
from torch.special import expm1

from replication.diffusion.schedule import NoiseSchedule
from replication.types import InputError, Prediction, per_image

VARIANCES = ("fixed-large", "fixed-small", "learned")
LEARNED = ("learned", "learned-range")


def marginal(schedule: NoiseSchedule, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """A draw x_t ~ q(x_t|x_0), Float[B,C,H,W], from `noise` ~ N(0, I) of the same shape (equation 4)."""
    return per_image(schedule.alpha(t), x_0) * x_0 + per_image(schedule.sigma(t), x_0) * noise


def transition(schedule: NoiseSchedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(scale, variance) of q(x_t|x_s) for s <= t, in the shape of t (equation 2 between any two times)."""
    return schedule.alpha(t) / schedule.alpha(s), schedule.sigma(t) ** 2 * _lost(schedule, s, t)


def posterior(schedule: NoiseSchedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """(mean [B,C,H,W], variance in the shape of t) of q(x_s|x_t,x_0) for s <= t (equations 6 and 7)."""
    lost = _lost(schedule, s, t)
    sigma_s = schedule.sigma(s)
    keep = schedule.alpha(t) / schedule.alpha(s) * (sigma_s / schedule.sigma(t)) ** 2
    mean = per_image(keep, x_t) * x_t + per_image(schedule.alpha(s) * lost, x_t) * x_0
    return mean, sigma_s**2 * lost


def _lost(schedule: NoiseSchedule, s: Tensor, t: Tensor) -> Tensor:
    """1 - SNR(t)/SNR(s): the share of the signal-to-noise ratio that is lost between s and t."""
    return -expm1(2 * (schedule.half_log_snr(t) - schedule.half_log_snr(s)))


def reverse_variance(
    name: str, prediction: Prediction, posterior_variance: Tensor, schedule: NoiseSchedule, t: Tensor, s: Tensor
) -> Tensor:
    """The variance of p(x_s|x_t), shaped to multiply [B,C,H,W]; raises InputError if learned and the network has none."""
    if name != "learned":
        variance = transition(schedule, s, t)[1] if name == "fixed-large" else posterior_variance
        return per_image(variance, prediction.x0)
    if prediction.log_var is None:
        raise InputError("variance 'learned' needs a network with twice the output channels (learned_variance = true)")
    if prediction.is_range:
        return _between(prediction.log_var, posterior_variance, schedule, t, s)
    return prediction.log_var.exp()


def _between(v: Tensor, posterior_variance: Tensor, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Tensor:
    """Interpolated in the logarithm from fixed-small at v = -1 to fixed-large at v = 1.

    At s = 0, where fixed-small is 0, its value on the step from 2/T to 1/T stands in, as in the official code.
    """
    second, first = (torch.full_like(t, k / schedule.T, dtype=torch.float64) for k in (2, 1))
    stand_in = transition(schedule, first, second)[1] * (schedule.sigma(first) / schedule.sigma(second)) ** 2
    low, high = torch.where(s == 0, stand_in, posterior_variance).log(), transition(schedule, s, t)[1].log()
    if t.ndim == 0:  # lerp takes no numbers from the CPU, and a copy would wait for the device
        low, high = (v.new_full((), float(end)) for end in (low, high))
    return torch.lerp(per_image(low, v), per_image(high, v), (v + 1) / 2).exp()
