"""What samplers, spacings, schedules and objectives must do: the parts of the mathematics, one function each.

The order of a sampler is the minimum over oracles and paths. One oracle is not enough: on Gaussian data the midpoint rule
in sigma/alpha has no h^3 error, so it looks as if it were of order 3; on a set of points it shows its order 2.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from replication.check import exact
from replication.check.models import Finding, SmallNetwork, at_most, holds, near, without_gradient
from replication.diffusion import Denoiser, sample
from replication.diffusion.denoiser import Counted
from replication.diffusion.objective import Objective
from replication.diffusion.sampler import Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing
from replication.noise import ImageNoise
from replication.registry import SCHEDULES, SPACINGS
from replication.types import InputError

PATHS: dict[str, NoiseSchedule] = {
    "VP": SCHEDULES.build("linear"),
    "VE": SCHEDULES.build("ve", sigma_max=5.0),
    "flow": SCHEDULES.build("flow"),
}
ORACLES: dict[str, Callable[[NoiseSchedule], exact.ExactDenoiser]] = {
    "correlated Gaussian": exact.CorrelatedGaussian,
    "points": exact.PointsDenoiser,
}
STEPS = [40, 80, 160]
LENGTHS = [1 / 16, 1 / 32, 1 / 64]
UNEQUAL = [1.3, 0.6, 1.7, 1.0]
CENTRES = (-0.6, -0.1, 0.4)  # where the step of the local test begins, in half_log_snr
WINDOWS = ((-1.5, 0.6), (-1.0, 1.5))  # what the trajectories of the global test span, in half_log_snr
ATOL = 0.2  # a wrong order is wrong by 1


def check_sampler(sampler: Sampler) -> Iterator[Finding]:
    """The orders it declares, its number of evaluations, and each image by itself; the slow checks first."""
    if sampler.stochastic:
        orders, means = zip(*(weak_order(sampler, schedule) for schedule in PATHS.values()), strict=True)
        yield near("weak order, that of the moments", min(orders), sampler.order, ATOL)
        yield at_most("error of the mean", max(means), 1e-12)
    else:
        for name, measured, declared in (
            ("global order", global_orders(sampler), sampler.order),
            ("local order", local_orders(sampler), sampler.local_order or sampler.order),
        ):
            where = min(measured, key=lambda key: measured[key])
            yield near(f"{name}, lowest on {where}", measured[where], declared, ATOL)
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

    def measured(known: exact.ExactDenoiser) -> list[Tensor]:
        errors = (exact.global_errors(known, sampler, even(known.schedule, window), STEPS) for window in WINDOWS)
        return [exact.slopes(STEPS, of) for of in errors]

    return _on_every_path(measured)


def local_orders(sampler: Sampler) -> dict[str, float]:
    """The order of one step after exact ones of unequal lengths, by path and oracle."""

    def measured(known: exact.ExactDenoiser) -> list[Tensor]:
        errors = (exact.local_errors(known, sampler, centre, UNEQUAL, LENGTHS) for centre in CENTRES)
        return [exact.slopes([1 / length for length in LENGTHS], of) - 1 for of in errors]

    return _on_every_path(measured)


def _on_every_path(measured: Callable[[exact.ExactDenoiser], list[Tensor]]) -> dict[str, float]:
    oracles = itertools.product(PATHS.items(), ORACLES.items())
    return {f"{path}, {name}": median(measured(oracle(schedule))) for (path, schedule), (name, oracle) in oracles}


def weak_order(sampler: Sampler, schedule: NoiseSchedule) -> tuple[float, float]:
    """(order of the variance, largest error of the mean), from the exact law at the start."""
    measured, means = [], []
    for std in (0.3, 0.5, 1.5):
        errors = exact.moment_errors(exact.GaussianDenoiser(schedule, std=std), sampler, even(schedule), STEPS)
        means += [float(mean) for mean, _ in errors]
        measured.append(exact.slopes(STEPS, errors)[1:])
    return median(measured), max(means)


def evaluations(sampler: Sampler) -> Iterator[Finding]:
    """NFE against `nfe`, and against evals_per_step on a step that follows others."""
    schedule = PATHS["VP"]
    denoiser = Counted(exact.GaussianDenoiser(schedule))
    whole = SPACINGS.build("uniform")(schedule, 10)
    counts = []
    for times in (whole, whole[:-1], whole[:-2]):
        denoiser.nfe = 0
        sample(denoiser, sampler, times, torch.zeros(1, 2, 2, 2), ImageNoise(0, torch.arange(1)))
        counts.append(denoiser.nfe)
    declared, step = sampler.nfe(schedule, whole), counts[1] - counts[2]
    yield holds("NFE of 10 steps to t = 0", counts[0], counts[0] == declared, f"{declared}, as nfe counts")
    each = sampler.evals_per_step
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
    answer = sample(exact.PointsDenoiser(schedule), sampler, times, x_T, ImageNoise(2, indices))
    missed = float((answer[:, None] - exact.TRIANGLE).abs().flatten(2).amax(dim=2).amin(dim=1).max())
    return missed if math.isfinite(missed) else math.inf


def check_spacing(spacing: Spacing, steps: Sequence[int] = (1, 2, 10, 100)) -> Iterator[Finding]:
    """Times that fall from noisy to clean on every path; published rules that repeat a time, or have one more, pass."""
    for path, schedule in PATHS.items():
        every = [spacing(schedule, n) for n in steps]
        enough = all(t.dtype == torch.float64 and t.ndim == 1 and len(t) > n for n, t in zip(steps, every, strict=True))
        shapes = ", ".join(f"{t.dtype}{list(t.shape)}".removeprefix("torch.") for t in every)
        yield holds(f"{path}: {steps} steps", shapes, enough, "float64[N+1] or longer")
        ends = ", ".join(f"{float(t[0]):.4g} to {float(t[-1]):.4g}" for t in every)
        yield holds(f"{path}: ends", ends, all(0 <= t[-1] < t[0] <= 1 for t in every), "within [0, 1], falling")
        yield at_most(f"{path}: largest rise", max(float(t.diff().max()) for t in every), 0.0)


def check_schedule(schedule: NoiseSchedule) -> Iterator[Finding]:
    """float64, clean at t = 0, noisier with every step, and invertible; on the grid k/T and on 999 times between."""
    grid = torch.arange(schedule.T + 1, dtype=torch.float64) / schedule.T
    t = torch.cat([grid, torch.linspace(1e-6, 1 - 1e-6, 999, dtype=torch.float64)]).sort().values.unique()
    alpha, sigma, lam = schedule.alpha(t), schedule.sigma(t), schedule.half_log_snr(t)
    shapes = [answer(t.reshape(1, -1)) for answer in (schedule.alpha, schedule.sigma, schedule.timestep)]
    same = all(answer.shape == (1, len(t)) and answer.dtype == torch.float64 for answer in shapes)
    yield holds("alpha, sigma, timestep: shape of t, float64", "yes" if same else "no", same)
    ends = (float(alpha[0]), float(sigma[0]))
    yield holds("alpha, sigma at t = 0", ends, ends == (1, 0), "1, 0")
    ranges = f"alpha {float(alpha.min()):.4g} to {float(alpha.max()):.4g}, sigma from {float(sigma.min()):.4g}"
    within = bool(((alpha >= 0) & (alpha <= 1) & (sigma >= 0)).all())
    yield holds("ranges", ranges, within, "alpha in [0, 1], sigma >= 0")
    rise = float(lam.diff()[1:].max()) if len(lam) > 2 else float(lam.diff().max())  # the first is -inf: sigma is 0
    yield holds("largest rise of half_log_snr", f"{rise:.3g}", rise < 0, "below 0")
    inside = lam.isfinite()
    ratio = (alpha / sigma).log()[inside]
    yield at_most("half_log_snr against log(alpha/sigma)", float((lam[inside] - ratio).abs().max()), 1e-9)
    yield at_most("time_at(half_log_snr(t)) against t", float((schedule.time_at(lam) - t).abs().max()), 1e-9)
    rising = bool((schedule.timestep(grid[1:]).diff() > 0).all())
    yield holds("timesteps on the grid", "rising" if rising else "not rising", rising)


def check_objective(objective: Objective) -> Iterator[Finding]:
    """A finite loss per image that trains the network, and times within (0, 1]; at t = 1/T, in the middle and at t = 1."""
    schedule = PATHS["VP"]
    network = SmallNetwork(out=4 if objective.learns_variance else 2)
    denoiser = Denoiser(network, schedule, variance=objective.variance_reading)
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64).clamp(-1, 1)
    t = torch.tensor([1 / schedule.T, 0.5, 1.0], dtype=torch.float64)
    loss = objective(denoiser, x0, None, t, noise)
    fits = loss.shape == t.shape and bool(loss.isfinite().all())
    yield holds("loss of three images", [round(x, 4) for x in loss.flatten().tolist()], fits, "three finite numbers")
    if not fits:
        return
    alone = torch.cat([objective(denoiser, x0[i : i + 1], None, t[i : i + 1], noise[i : i + 1]) for i in range(3)])
    yield at_most("difference that the batch makes", float((loss - alone).detach().abs().max()), 1e-9)
    loss.sum().backward()
    yield without_gradient(network, and_zero=True)
    times = objective.draw_times(1000, schedule, torch.device("cpu"))
    drawn = f"{times.dtype}{list(times.shape)}, {float(times.min()):.4g} to {float(times.max()):.4g}"
    right = times.dtype == torch.float64 and times.shape == (1000,) and bool(((times > 0) & (times <= 1)).all())
    yield holds("1000 drawn times", drawn.removeprefix("torch."), right, "float64[1000] in (0, 1]")
    if objective.learns_variance:
        try:
            objective(Denoiser(SmallNetwork(), schedule), x0, None, t, noise)
            refused = False
        except InputError:
            refused = True
        yield holds("a network without a variance", "refused" if refused else "taken", refused, "refused")
