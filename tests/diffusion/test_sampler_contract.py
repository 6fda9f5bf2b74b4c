"""What every registered sampler does whatever its rule: ends, repeated times, and images that do not depend on each other."""

import itertools
from typing import Any

import pytest
import torch

from oracles.sampler_cases import every_sampler
from replication.check.diffusion import evaluations, images, missed
from replication.check.models import SmallNetwork
from replication.diffusion import Denoiser, sample
from replication.diffusion.forward import LEARNED
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS

LINEAR = SCHEDULES.build("linear", T=1000)
INDICES = torch.arange(4)
X_T = ImageNoise(2, INDICES).prior((4, 2, 3, 3)).double()


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


@pytest.mark.parametrize("reading", LEARNED)
@pytest.mark.parametrize("steps", [50, 100])
def test_a_learned_variance_has_no_say_where_a_time_repeats(reading: str, steps: int) -> None:
    """Exact: from t to t, q(x_s|x_t) is x_t alone, whatever the network answers, and at DDIM's own quadratic times, which
    repeat some of 1000, all images are numbers. Catches: the logarithm of fixed-small's 0, and noise of exp(0) per step."""
    sampler = SAMPLERS.build("ancestral", variance="learned")

    def network(x: torch.Tensor, timestep: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), torch.zeros_like(x)], dim=1)

    denoiser = Denoiser(network, LINEAR, variance=reading)
    t, noise = torch.tensor(0.01, dtype=torch.float64), torch.ones_like(X_T)
    again, _ = sampler.step(denoiser, LINEAR, X_T, t, t, noise, None)
    assert torch.equal(again, X_T)
    times = SPACINGS.build("quadratic")(LINEAR, steps)
    assert (times.diff() == 0).any()
    small = Denoiser(lambda x, *_: torch.cat([torch.zeros_like(x), torch.full_like(x, -20.0)], 1), LINEAR)
    x0 = sample(denoiser if reading == "learned-range" else small, sampler, times, X_T, ImageNoise(2, INDICES))
    assert x0.isfinite().all()


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
    assert missed(SAMPLERS.build(name, **options), schedule) <= 0.1


@every_sampler
def test_images_and_evaluations(name: str, options: dict[str, Any]) -> None:
    """Catches a norm, a mean or a noise that is shared over the batch, history that is kept in the sampler instead of in
    the state, and evaluations that are not counted."""
    sampler = SAMPLERS.build(name, **options)
    found = [*images(sampler), *evaluations(sampler)]
    assert len(found) == 4
    assert [finding for finding in found if not finding.ok] == []
