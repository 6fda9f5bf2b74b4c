"""Spacings that count in the noise-to-signal ratio sigma/alpha, as k-diffusion and EDM do, on any schedule."""

from abc import abstractmethod

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import ENDS, Spacing
from replication.registry import SPACINGS, one_of
from replication.types import InputError


class SigmaSpacing(Spacing):
    """A rule for the ratio sigma/alpha = exp(-half_log_snr).

    sigma_max, sigma_min: the range, in that ratio; by default that of t = 1 and of t = 1/T. Where the schedule leaves no
    signal at t = 1 (flow, zero_terminal_snr, jsd) the default is that of t = 1 - 1/T, and times[0] is 1 - 1/T too.
    end: "zero" is n_steps ratios of the range and then t = 0; "first" is n_steps + 1 ratios, the last of them sigma_min,
    as the official DPM-Solver does. Times are not rounded to the grid k/T; between its points they follow the
    schedule's interpolation, which is linear in log alpha (k-diffusion's is linear in log sigma).

    Raises InputError for another end, and for a range that is empty or that the schedule does not have.
    """

    def __init__(self, sigma_min: float | None = None, sigma_max: float | None = None, end: str = "zero"):
        self.sigma_min, self.sigma_max, self.end = sigma_min, sigma_max, one_of("end", end, ENDS)

    @abstractmethod
    def ratios(self, highest: Tensor, lowest: Tensor, n: int) -> Tensor:
        """n >= 1 ratios that fall from the highest to the lowest; the highest alone if n is 1."""

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        t = torch.tensor([1.0, 1 / schedule.T], dtype=torch.float64)  # where the range begins and ends
        if schedule.alpha(t[0]) == 0:
            t[0] = 1 - 1 / schedule.T
        for i, sigma in enumerate((self.sigma_max, self.sigma_min)):
            if sigma is None:
                continue
            if not sigma > 0:
                raise InputError(f"a ratio sigma/alpha must be positive, not {sigma!r}")
            t[i] = schedule.time_at(-torch.tensor(sigma, dtype=torch.float64).log())
        n = n_steps + (self.end == "first")
        if t[0] <= (t[1] if n > 1 else 0):
            raise InputError(
                f"the range of sigma/alpha is empty: it begins at t = {t[0]:.4g} and ends at t = {t[1]:.4g}"
            )
        highest, lowest = torch.exp(-schedule.half_log_snr(t))
        times = schedule.time_at(-self.ratios(highest, lowest, n).log())
        times[-1], times[0] = t[1], t[0]  # without rounding; in this order, since a single time is the first
        return times if self.end == "first" else torch.cat([times, torch.zeros(1).double()])


@SPACINGS.register("karras")
class Karras(SigmaSpacing):
    """(sigma/alpha)^(1/rho) falls evenly (Karras et al. 2022, EDM, equation 5).

    EDM's own are schedule "ve" and sigma_min = 0.002.

    Range, end and errors: see SigmaSpacing. InputError unless rho > 0.
    """

    def __init__(
        self, rho: float = 7.0, sigma_min: float | None = None, sigma_max: float | None = None, end: str = "zero"
    ):
        super().__init__(sigma_min, sigma_max, end)
        if not rho > 0:
            raise InputError(f"rho must be positive, not {rho!r}")
        self.rho = rho

    def ratios(self, highest: Tensor, lowest: Tensor, n: int) -> Tensor:
        ramp = torch.arange(n, dtype=torch.float64) / max(n - 1, 1)
        top, bottom = highest ** (1 / self.rho), lowest ** (1 / self.rho)
        return (top + ramp * (bottom - top)) ** self.rho


@SPACINGS.register("log_snr", "exponential")
class LogSNR(SigmaSpacing):
    """log(sigma/alpha) falls evenly, also known as exponential (Lu et al. 2022, DPM-Solver, section 3.4).

    The paper's has end = "first"; k-diffusion's "exponential", uniform in log sigma, is the same rule with end = "zero".
    Range, end and errors: see SigmaSpacing.
    """

    def ratios(self, highest: Tensor, lowest: Tensor, n: int) -> Tensor:
        ramp = torch.arange(n, dtype=torch.float64) / max(n - 1, 1)
        return torch.lerp(highest.log(), lowest.log(), ramp).exp()
