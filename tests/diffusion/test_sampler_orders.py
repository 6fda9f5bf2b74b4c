"""The order that each sampler declares is the one that it has: measured over the registry, on three kinds of path.

The trap: 2M with its ratio of steps inverted still has global slope 2; the local test alone, with exact history and
unequal steps, sees it. Linear multistep rules begin with a step of order 1, so they have two orders, both measured.
"""

import itertools
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from oracles.sampler_cases import CASES, every_sampler
from replication.check.oracles.gaussian import GaussianDenoiser
from replication.check.oracles.order import (
    ExactDenoiser,
    distance,
    global_errors,
    local_errors,
    moment_errors,
    slopes,
    starts,
    walk,
)
from replication.check.oracles.points import PointsDenoiser
from replication.diffusion.samplers.dpmpp_2m import DPMpp2M
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS, SCHEDULES

PATHS = {
    "VP": SCHEDULES.build("linear"),
    "VE": SCHEDULES.build("ve", sigma_max=5.0),
    "flow": SCHEDULES.build("flow"),
}
every_path = pytest.mark.parametrize("path", PATHS)
STEPS = [40, 80, 160]
LENGTHS = [1 / 16, 1 / 32, 1 / 64]
UNEQUAL = [1.3, 0.6, 1.7, 1.0]


def even(schedule: NoiseSchedule) -> Callable[[int], Tensor]:
    """Times even in t, for PLMS needs them so, over the part of the path where the data takes shape."""
    start, end = schedule.time_at(torch.tensor([-1.5, 1.0], dtype=torch.float64))
    return lambda n: torch.lerp(start, end, torch.linspace(0, 1, n + 1, dtype=torch.float64))


def median(measured: list[Tensor]) -> float:
    """Over starting points and oracles: an error that crosses zero among them does not count."""
    return float(torch.cat(measured).median())


def oracles(schedule: NoiseSchedule) -> list[ExactDenoiser]:
    return [GaussianDenoiser(schedule), GaussianDenoiser(schedule, std=1.5), PointsDenoiser(schedule)]


@every_sampler
def test_global_order(name: str, options: dict[str, Any]) -> None:
    """No path's slope is below the declared order by 0.2, and the lowest is not above it by 0.75.

    Catches alpha or eps of the wrong time (slope 0), a correction that is not averaged or not made, an order overstated
    or understated.
    """
    sampler = SAMPLERS.build(name, **options)
    if sampler.stochastic:
        pytest.skip("a stochastic sampler's order is that of its moments")
    measured = []
    for schedule in PATHS.values():
        times = even(schedule)
        measured.append(
            median([slopes(STEPS, global_errors(each, sampler, times, STEPS)) for each in oracles(schedule)])
        )
    assert sampler.order - 0.2 <= min(measured) <= sampler.order + 0.75, measured


@every_path
@every_sampler
def test_local_order(name: str, options: dict[str, Any], path: str) -> None:
    """Slope within 0.2 of local_order + 1, over the finest three steps, after exact steps of unequal lengths.

    Catches the ratio of steps inverted or left out, a divided difference taken for a derivative, and weights that are
    wrong by a factor which equal steps make 1.
    """
    sampler = SAMPLERS.build(name, **options)
    if sampler.stochastic:
        pytest.skip("a stochastic sampler's order is that of its moments")
    measured = [
        slopes([1 / h for h in LENGTHS], local_errors(denoiser, sampler, centre, UNEQUAL, LENGTHS))
        for centre in (-0.6, -0.1, 0.4)
        for denoiser in oracles(PATHS[path])[:2]
    ]
    assert abs(median(measured) - (sampler.local_order or sampler.order) - 1) <= 0.2


class InvertedRatio(DPMpp2M):
    """2M with h_0/h where h/h_0 belongs."""

    def moments(self, h: Tensor, past: int) -> list[float]:
        return [0.5]

    def step(self, *args: Any) -> Any:
        with mock.patch("replication.diffusion.samplers.dpmpp_2m.average", self.inverted):
            return super().step(*args)

    @staticmethod
    def inverted(nodes: Any, length: Tensor, moments: list[float]) -> Tensor:
        if len(nodes) < 2:
            return nodes[0][1]
        (start, value), (place, past) = nodes
        return value + moments[0] * (place - start) / length * (past - value)


@every_path
def test_the_local_test_sees_what_the_global_one_does_not(path: str) -> None:
    """2M with its ratio inverted: a global slope of 2 (to 0.2), but a local one of 2 instead of 3 (to 0.2).

    Catches a local test on equal steps, which would not see it either.
    """
    wrong, denoiser = InvertedRatio(), GaussianDenoiser(PATHS[path], std=1.5)
    globally = median([slopes(STEPS, global_errors(denoiser, wrong, even(PATHS[path]), STEPS))])
    locally = median([slopes([1 / h for h in LENGTHS], local_errors(denoiser, wrong, 0.4, UNEQUAL, LENGTHS))])
    assert abs(globally - 2) <= 0.2
    assert abs(locally - 2) <= 0.2


@every_path
@pytest.mark.parametrize(
    ("name", "options"), [("lms", {}), ("lms", {"order": 3}), ("dpmpp_3m", {"weights": "exact"})], ids=str
)
def test_global_order_from_an_exact_history(name: str, options: dict[str, Any], path: str) -> None:
    """Slope within 0.25 of local_order. Catches a value that is dropped after it was used once, or kept too long."""
    sampler = SAMPLERS.build(name, **options)
    errors = global_errors(GaussianDenoiser(PATHS[path]), sampler, even(PATHS[path]), STEPS, exact=4)
    assert abs(median([slopes(STEPS, errors)]) - sampler.local_order) <= 0.25


@every_path
@pytest.mark.parametrize("name", ["plms", "pndm"])
def test_pseudo_multistep_is_of_order_2_on_equal_steps_only(name: str, path: str) -> None:
    """One step's slope is 3 after equal steps of t (to 0.2) and 2 after unequal ones. Catches AB coefficients mixed up."""
    schedule, denoiser = PATHS[path], GaussianDenoiser(PATHS[path])
    centre, errors = schedule.time_at(torch.tensor(0.0, dtype=torch.float64)), []
    for n in (64, 128, 256):
        times = centre - centre * torch.arange(-3, 2, dtype=torch.float64) / n
        x_T = starts(denoiser, times[0])
        x = walk(denoiser, SAMPLERS.build(name), times, x_T, 3)
        errors.append(distance(x, denoiser.flow(x_T, times[0], times[-1])))
    assert float(slopes([64, 128, 256], errors).median()) >= 2.8


@pytest.mark.parametrize(("path", "slope"), [("VP", 3), ("flow", 3), ("VE", 5)])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_each_runge_kutta_step_of_pndm_is_of_order_2_on_any_steps(before: int, path: str, slope: int) -> None:
    """Slope within 0.3, after so many exact steps of other lengths; on VE it is that of Runge-Kutta of order 4.

    Catches a start of fewer than three such steps, Simpson's weights mixed up, and a stage held from the wrong place.
    """
    errors = [
        local_errors(denoiser, SAMPLERS.build("pndm"), centre, UNEQUAL[: before + 1], LENGTHS)
        for centre in (-0.6, -0.1, 0.4)
        for denoiser in oracles(PATHS[path])[:2]
    ]
    assert abs(median([slopes([1 / h for h in LENGTHS], each) for each in errors]) - slope) <= 0.3


def test_pndm_is_of_order_4_where_noise_is_time() -> None:
    """Slope within 0.3 of 4 on VE, whose sigma/alpha is t. Catches AB coefficients mixed up and a value too few
    of them; the start is too short a part to show here (Heun's would leave 3.9), so it has the test above."""
    times, steps = even(PATHS["VE"]), [80, 160, 320]
    errors = [global_errors(each, SAMPLERS.build("pndm"), times, steps) for each in oracles(PATHS["VE"])]
    assert abs(median([slopes(steps, each) for each in errors]) - 4) <= 0.3


@every_path
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_corrects_to_one_order_more(order: int, variant: str, path: str) -> None:
    """The corrected image, which its state holds, errs by h^(p + 2): slope within 0.25. Catches a corrector of order p,
    one that forgets the new value, and one that starts from the predicted image."""
    denoiser, errors = GaussianDenoiser(PATHS[path]), []
    sampler = SAMPLERS.build("unipc", order=order, variant=variant, lower_order_final="at-zero")
    for h in LENGTHS:
        places = h * (torch.tensor([0.0, *UNEQUAL, 1.0]).double().cumsum(0) - sum(UNEQUAL[:-1]))
        times = denoiser.schedule.time_at(places)
        x_T, state = starts(denoiser, times[0]), sampler.init()
        x = x_T
        for i, (t, s) in enumerate(itertools.pairwise(times)):
            if 0 < i < len(times) - 1:
                state = type(state)(state.nodes, state.left, denoiser.flow(x_T, times[0], times[i - 1]), times[i - 1])
            predicted, state = sampler.step(denoiser, denoiser.schedule, x, t, s, None, state)
            x = predicted if i == len(UNEQUAL) - 1 else denoiser.flow(x_T, times[0], s)
        errors.append(distance(state.x_t, denoiser.flow(x_T, times[0], times[-2])))
    assert abs(float(slopes([1 / h for h in LENGTHS], errors).median()) - (order + 2)) <= 0.25


@every_path
@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options in CASES if SAMPLERS.build(name, **options).stochastic],
    ids=str,
)
def test_weak_order(name: str, options: dict[str, Any], path: str) -> None:
    """From the exact law at the start, the variance's slope is within 0.2 of the order and the mean is exact (1e-12).

    No Monte Carlo: the moments are propagated. Catches noise that is lost, doubled or of another variance (slope 0).
    """
    sampler, schedule = SAMPLERS.build(name, **options), PATHS[path]
    measured = []
    for std in (0.3, 0.5, 1.5):
        errors = moment_errors(GaussianDenoiser(schedule, std=std), sampler, even(schedule), STEPS)
        assert max(float(mean) for mean, _ in errors) <= 1e-12
        measured.append(slopes(STEPS, errors)[1:])
    assert abs(median(measured) - sampler.order) <= 0.2
