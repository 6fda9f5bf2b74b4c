"""The forward process, for any path x_t = alpha x_0 + sigma eps: Ho et al. 2020, equations 2, 4, 6 and 7.

    lam       half_log_snr: log(alpha / sigma)
    q(x_t|x_0)      = N(alpha_t x_0, sigma_t^2)
    q(x_t|x_s)      = N(alpha_t/alpha_s x_s, sigma_{t|s}^2),  sigma_{t|s}^2 = sigma_t^2 (1 - exp(2 (lam_t - lam_s)))
    q(x_s|x_t,x_0)  = N(mean, sigma_s^2 (1 - exp(2 (lam_t - lam_s))))

Written in lam the differences keep full precision, and s = 0 (lam = inf) needs no special case.
"""

from torch import Tensor
from torch.special import expm1

from replication.diffusion.schedule import NoiseSchedule
from replication.types import per_image


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
