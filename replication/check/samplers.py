"""What a sampler must do: have the orders it declares, count its evaluations, and treat each image by itself.

An order is the minimum over the oracles and the paths. One oracle is not enough: on Gaussian data the midpoint rule in
sigma/alpha has no h^3 error, so it looks as if it were of order 3; on a set of points it shows its order 2.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from replication.check.finding import Finding, at_most, holds, near
from replication.check.oracles.gaussian import CorrelatedGaussian, GaussianDenoiser
from replication.check.oracles.networks import SmallNetwork
from replication.check.oracles.order import ExactDenoiser, global_errors, local_errors, moment_errors, slopes
from replication.check.oracles.points import TRIANGLE, PointsDenoiser
from replication.diffusion import Denoiser, sample
from replication.diffusion.denoiser import Counted
from replication.diffusion.sampler import Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.noise import ImageNoise
from replication.registry import SCHEDULES, SPACINGS

PATHS: dict[str, NoiseSchedule] = {
    "VP": SCHEDULES.build("linear"),
    "VE": SCHEDULES.build("ve", sigma_max=5.0),
    "flow": SCHEDULES.build("flow"),
}
ORACLES: dict[str, Callable[[NoiseSchedule], ExactDenoiser]] = {
    "correlated Gaussian": CorrelatedGaussian,
    "points": PointsDenoiser,
}
STEPS = [40, 80, 160]
LENGTHS = [1 / 16, 1 / 32, 1 / 64]
UNEQUAL = [1.3, 0.6, 1.7, 1.0]
CENTRES = (-0.6, -0.1, 0.4)  # where the step of the local test begins, in half_log_snr
WINDOWS = ((-1.5, 0.6), (-1.0, 1.5))  # what the trajectories of the global test span, in half_log_snr
ATOL = 0.2  # a wrong order is wrong by 1


def findings(sampler: Sampler) -> Iterator[Finding]:
    """Every check of a sampler, the slow ones first."""
    if sampler.stochastic:
        orders, means = zip(*(weak_order(sampler, schedule) for schedule in PATHS.values()), strict=True)
        yield near("weak order, that of the moments", min(orders), sampler.order, ATOL)
        yield at_most("error of the mean", max(means), 1e-12)
    else:
        for name, by_oracle, declared in (
            ("global order", global_orders(sampler), sampler.order),
            ("local order", local_orders(sampler), sampler.local_order or sampler.order),
        ):
            where = min(by_oracle, key=lambda key: by_oracle[key])
            yield near(f"{name}, lowest on {where}", by_oracle[where], declared, ATOL)
    yield from evaluations(sampler)
    yield from images(sampler)
    for path in ("VP", "flow"):
        yield at_most(f"distance from the data at the end, {path}", missed(sampler, PATHS[path]), 0.1)


def even(schedule: NoiseSchedule, window: tuple[float, float] = (-1.5, 1.0)) -> Callable[[int], Tensor]:
    """`times(n)`: n + 1 of them, even in t (PLMS needs them so), over the part of the path where the data takes shape."""
    start, end = schedule.time_at(torch.tensor(window, dtype=torch.float64))
    return lambda n: torch.lerp(start, end, torch.linspace(0, 1, n + 1, dtype=torch.float64))


def median(measured: Sequence[Tensor]) -> float:
    """Over starting points and places: an error that crosses zero among them does not count."""
    return float(torch.cat(list(measured)).median())


def global_orders(sampler: Sampler) -> dict[str, float]:
    """The order of whole trajectories, by path and oracle."""
    orders = {}
    for path, schedule in PATHS.items():
        for oracle, exact in ORACLES.items():
            runs = [global_errors(exact(schedule), sampler, even(schedule, window), STEPS) for window in WINDOWS]
            orders[f"{path}, {oracle}"] = median([slopes(STEPS, errors) for errors in runs])
    return orders


def local_orders(sampler: Sampler) -> dict[str, float]:
    """The order of one step after exact ones of unequal lengths, by path and oracle."""
    orders, inverse = {}, [1 / length for length in LENGTHS]
    for path, schedule in PATHS.items():
        for oracle, exact in ORACLES.items():
            runs = [local_errors(exact(schedule), sampler, centre, UNEQUAL, LENGTHS) for centre in CENTRES]
            orders[f"{path}, {oracle}"] = median([slopes(inverse, errors) for errors in runs]) - 1
    return orders


def weak_order(sampler: Sampler, schedule: NoiseSchedule) -> tuple[float, float]:
    """(order of the variance, largest error of the mean) from the exact law at the start: no Monte Carlo."""
    measured, means = [], []
    for std in (0.3, 0.5, 1.5):
        errors = moment_errors(GaussianDenoiser(schedule, std=std), sampler, even(schedule), STEPS)
        means += [float(mean) for mean, _ in errors]
        measured.append(slopes(STEPS, errors)[1:])
    return median(measured), max(means)


def evaluations(sampler: Sampler) -> Iterator[Finding]:
    """NFE against `nfe`, and against evals_per_step on a step that follows others."""
    schedule = PATHS["VP"]
    denoiser = Counted(GaussianDenoiser(schedule))
    whole = SPACINGS.build("uniform")(schedule, 10)
    inner = whole[:-1]
    counts = []
    for times in (whole, inner, inner[:-1]):
        denoiser.nfe = 0
        sample(denoiser, sampler, times, torch.zeros(1, 2, 2, 2), ImageNoise(0, torch.arange(1)))
        counts.append(denoiser.nfe)
    declared = sampler.nfe(schedule, whole)
    yield holds("NFE of 10 steps to t = 0", counts[0], counts[0] == declared, f"{declared}, as nfe counts")
    step, each = counts[1] - counts[2], sampler.evals_per_step
    yield holds("NFE of the ninth step", step, step == each, f"{each}, its evals_per_step")


def images(sampler: Sampler) -> Iterator[Finding]:
    """An image does not depend on its batch, nor a trajectory on those before it."""
    schedule, indices = PATHS["VP"], torch.arange(3)
    denoiser, times = Denoiser(SmallNetwork().requires_grad_(False), schedule), SPACINGS.build("uniform")(schedule, 6)
    x_T = ImageNoise(2, indices).prior((3, 2, 3, 3)).double()
    together = sample(denoiser, sampler, times, x_T, ImageNoise(2, indices))
    alone = [sample(denoiser, sampler, times, x_T[i : i + 1], ImageNoise(2, indices[i : i + 1])) for i in indices]
    yield at_most("difference that the batch makes", float((together - torch.cat(alone)).abs().max()), 1e-12)
    again = sample(denoiser, sampler, times, x_T, ImageNoise(2, indices))
    yield at_most("difference that earlier trajectories make", float((together - again).abs().max()), 0.0)


def missed(sampler: Sampler, schedule: NoiseSchedule) -> float:
    """How far from the nearest data point (they are 1 apart) 50 steps from pure noise to t = 0 end."""
    indices = torch.arange(4)
    times = torch.cat([torch.linspace(1, 0.002, 50, dtype=torch.float64), torch.zeros(1).double()])
    x_T = schedule.sigma(times[0]) * ImageNoise(2, indices).prior((4, 2, 1, 1)).double()
    answer = sample(PointsDenoiser(schedule), sampler, times, x_T, ImageNoise(2, indices))
    missed = float((answer[:, None] - TRIANGLE).abs().flatten(2).amax(dim=2).amin(dim=1).max())
    return missed if math.isfinite(missed) else math.inf
