"""Spacings off the grid: in the noise-to-signal ratio sigma/alpha, as k-diffusion and EDM count, on any schedule; and in t."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule, NoiseSchedule
from replication.diffusion.spacing import ENDS, Spacing, end_time
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


@SPACINGS.register("list")
class List(Spacing):
    """Times that the user lists, such as those that a search found.

    Either times in [0, 1], N + 1 of them with the end, or N timesteps in [0, T-1], after which comes the `end`.

    Both fall strictly; timesteps are the papers' indices, fractions allowed, for discrete schedules. end: "zero" or
    "first" (t = 1/T), for timesteps only. Raises InputError for anything else, and unless they make n_steps steps.
    """

    def __init__(
        self, times: Sequence[float] | None = None, timesteps: Sequence[float] | None = None, end: str = "zero"
    ):
        if times is not None and (timesteps is not None or end != "zero"):
            raise InputError("spacing 'list': times stand alone, and say themselves where they end")
        self.given = torch.tensor(times or timesteps or [], dtype=torch.float64)
        self.indexed, self.end = times is None, one_of("end", end, ENDS)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        if not len(self.given):
            raise InputError("spacing 'list' needs a list: option times or timesteps")
        times, kind = self.given, "timesteps" if self.indexed else "times"
        if self.indexed:
            if not isinstance(schedule, DiscreteSchedule):
                raise InputError(f"a {type(schedule).__name__} schedule has no timestep indices: list times instead")
            times = torch.cat([(times + 1) / schedule.T, end_time(self.end, schedule)])
        if len(times) != n_steps + 1:
            raise InputError(f"{len(self.given)} {kind} are listed: they make {len(times) - 1} steps, not {n_steps}")
        if not bool((times.diff() < 0).all()) or times[0] > 1 or times[-1] < 0:
            span = f"0 to {schedule.T - 1}" if self.indexed else "0 to 1"
            raise InputError(f"{kind} must fall strictly, to the end too, and lie within {span}")
        return times


@SPACINGS.register("shifted")
class Shifted(Spacing):
    """shift t / (1 + (shift - 1) t) of evenly spaced t, and then 0: more steps near the noise (Esser et al. 2024, equation 23).

    start: the smallest t before 0. "grid" is 1/T under the same shift, diffusers' own for Stable Diffusion 3, with shift = 3;
    "even" is 1/n_steps, as its pipeline gives them for FLUX, where shift is exp(mu) of the image's size: 1 for schnell, and for
    dev from exp(0.5) at 256 patches to exp(1.15) at 4096. Raises InputError for a shift that is not positive.
    """

    def __init__(self, shift: float = 3.0, start: Literal["grid", "even"] = "grid"):
        if not shift > 0:
            raise InputError(f"spacing 'shifted': shift must be above 0, not {shift}")
        self.shift, self.start = shift, start

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        first = torch.tensor(1 / (n_steps if self.start == "even" else schedule.T), dtype=torch.float64)
        first = first if self.start == "even" else self._shifted(first)  # twice in the end, as there
        even = torch.linspace(1, float(first), n_steps, dtype=torch.float64)
        return torch.cat([self._shifted(even), torch.zeros(1, dtype=torch.float64)])

    def _shifted(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)
