"""What every registered sampler does whatever its rule: ends, repeated times, and images that don't know of each other."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from oracles.sampler_cases import every_sampler
from replication.check.oracles.gaussian import GaussianDenoiser
from replication.check.oracles.networks import SmallNetwork
from replication.check.oracles.points import TRIANGLE, PointsDenoiser
from replication.diffusion import Denoiser, sample
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS

LINEAR = SCHEDULES.build("linear", T=1000)
INDICES = torch.arange(4)
X_T = ImageNoise(2, INDICES).prior((4, 2, 3, 3)).double()


def noise(indices: Tensor) -> ImageNoise:
    return ImageNoise(2, indices)


@every_sampler
def test_a_repeated_time_is_an_identity_step(name: str, options: dict[str, Any]) -> None:
    """max-abs 1e-12, with history and without. Catches noise being added, NaN, and 0/0 in a ratio of steps."""
    sampler = SAMPLERS.build(name, **options)
    denoiser = Denoiser(SmallNetwork().requires_grad_(False), LINEAR)
    times = torch.tensor([0.9, 0.7, 0.5, 0.4, 0.4], dtype=torch.float64)
    z = torch.ones_like(X_T) if sampler.stochastic else None
    x, state = X_T, sampler.init(torch.cat([times, times[-1:]]))
    for t, s in itertools.pairwise(times[:-1]):
        x, state = sampler.step(denoiser, LINEAR, x, t, s, z, state)
    again, state = sampler.step(denoiser, LINEAR, x, times[-1], times[-1], z, state)
    if name != "unipc":  # which corrects x first
        assert (again - x).abs().max() <= 1e-12
    twice, _ = sampler.step(denoiser, LINEAR, again, times[-1], times[-1], z, state)
    assert (twice - again).abs().max() <= 1e-12
    first, _ = sampler.step(denoiser, LINEAR, x, times[-1], times[-1], z, sampler.init(times))
    assert (first - x).abs().max() <= 1e-12


@every_sampler
def test_a_repeated_time_changes_nothing_later(name: str, options: dict[str, Any]) -> None:
    """max-abs 1e-12. Catches a value that enters the history twice and takes the place of an older one, and a start that
    is over once the first time repeats."""
    sampler = SAMPLERS.build(name, **options)
    if sampler.stochastic:
        pytest.skip("the noise of a step goes with its number")
    if name == "unipc":
        pytest.skip("UniPC evaluates anew at a repeated time, now at the corrected image")
    denoiser = Denoiser(SmallNetwork().requires_grad_(False), LINEAR)
    once = [0.9, 0.7, 0.5, 0.4, 0.2, 0.1, 0.05, 0.0]
    answers = [
        sample(denoiser, sampler, torch.tensor(times, dtype=torch.float64), X_T)
        for times in (once, [*once[:3], *once[2:]], [once[0], *once])
    ]
    for answer in answers[1:]:
        assert (answers[0] - answer).abs().max() <= 1e-12


@every_sampler
@pytest.mark.parametrize("path", ["linear", "ve", "flow", "zero_terminal_snr"])
def test_from_pure_noise_to_data(name: str, options: dict[str, Any], path: str) -> None:
    """The answer at sigma = 0 lies within 0.1 of a data point (they are 1 apart), though alpha may be 0 at the start.

    Catches inf - inf and 0/0 at either end, and any multiple of the noise that is left over.
    """
    schedule = SCHEDULES.build(path, **({"sigma_max": 5.0} if path == "ve" else {}))
    denoiser = PointsDenoiser(schedule)
    times = torch.cat([torch.linspace(1, 0.002, 50, dtype=torch.float64), torch.zeros(1).double()])
    x_T = schedule.sigma(times[0]) * ImageNoise(2, INDICES).prior((4, 2, 1, 1)).double()
    answer = sample(denoiser, SAMPLERS.build(name, **options), times, x_T, noise(INDICES))
    assert (answer[:, None] - TRIANGLE).abs().flatten(2).amax(dim=2).amin(dim=1).max() <= 0.1


@every_sampler
def test_an_image_does_not_depend_on_its_batch(name: str, options: dict[str, Any]) -> None:
    """max-abs 1e-12. Catches a norm, a mean or a noise that is shared over the batch."""
    denoiser, times = Denoiser(SmallNetwork().requires_grad_(False), LINEAR), SPACINGS.build("uniform")(LINEAR, 6)
    together = sample(denoiser, SAMPLERS.build(name, **options), times, X_T, noise(INDICES))
    for i in range(len(INDICES)):
        alone = sample(denoiser, SAMPLERS.build(name, **options), times, X_T[i : i + 1], noise(INDICES[i : i + 1]))
        assert (together[i : i + 1] - alone).abs().max() <= 1e-12


@every_sampler
def test_a_sampler_object_serves_any_number_of_trajectories(name: str, options: dict[str, Any]) -> None:
    """Exact. Catches history that is kept in the sampler instead of in the state."""
    denoiser, times = GaussianDenoiser(LINEAR), SPACINGS.build("uniform")(LINEAR, 6)
    sampler = SAMPLERS.build(name, **options)
    first, second = (sample(denoiser, sampler, times, X_T, noise(INDICES)) for _ in range(2))
    assert torch.equal(first, second)
