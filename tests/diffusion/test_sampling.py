"""The sampling loop: what it asks of its parts, over the whole registry of samplers, and what it refuses."""

from collections.abc import Sequence

import pytest
import torch

from oracles.gaussian import GaussianDenoiser
from replication.diffusion import sample
from replication.diffusion.denoiser import Counted
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.types import InputError, Prediction

SCHEDULE = SCHEDULES.build("linear", T=1000)
DENOISER = GaussianDenoiser(SCHEDULE)
X_T = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def zeros(step: int, shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros(*shape)


@pytest.mark.parametrize("spacing", ["uniform", "quadratic", "karras"])
@pytest.mark.parametrize("name", SAMPLERS.names())
def test_evaluations_are_those_that_the_sampler_declares(name: str, spacing: str) -> None:
    """Exact. Catches an evaluation to warm up, one at t = 0, and repeated times (quadratic, 50 steps) being dropped."""
    counted, sampler = Counted(DENOISER), SAMPLERS.build(name)
    times = SPACINGS.build(spacing)(SCHEDULE, 50)
    sample(counted, sampler, times, X_T, zeros)
    assert counted.nfe == sampler.nfe(SCHEDULE, times)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_evaluations_from_a_start_without_signal(name: str) -> None:
    """Exact, on the straight line from t = 1, down to one step. Catches a middle or a correction where there is none."""
    schedule = SCHEDULES.build("flow")
    for n in (1, 2, 5):
        counted, sampler = Counted(GaussianDenoiser(schedule)), SAMPLERS.build(name)
        times = torch.linspace(1, 0, n + 1, dtype=torch.float64)
        sample(counted, sampler, times, X_T, zeros)
        assert counted.nfe == sampler.nfe(schedule, times)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ddim", 18), ("heun", 35), ("plms", 19), ("dpm_2", 35), ("dpm_3", 52), ("dpmpp_2s", 35), ("unipc", 18)],
)
def test_published_numbers_of_evaluations(name: str, expected: int) -> None:
    """Of 18 steps that end at sigma = 0: EDM's 35 with Heun, and N + 1 with PLMS. Catches a wrong declaration."""
    assert SAMPLERS.build(name).nfe(SCHEDULE, SPACINGS.build("karras")(SCHEDULE, 18)) == expected


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_noise_is_asked_once_a_step_and_only_by_stochastic_samplers(name: str) -> None:
    """Exact. Catches noise that is drawn and discarded, and indices that are not the step's own."""
    asked, sampler = [], SAMPLERS.build(name)

    def noise(step: int, shape: Sequence[int]) -> torch.Tensor:
        asked.append((step, tuple(shape)))
        return torch.zeros(*shape)

    sample(DENOISER, sampler, SPACINGS.build("uniform")(SCHEDULE, 4), X_T, noise)
    assert asked == ([(i, (3, 1, 2, 2)) for i in range(4)] if sampler.stochastic else [])


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_no_noise_reaches_the_last_step(name: str) -> None:
    """Exact: the answer at t = 0 does not depend on the last draw. Catches noise that is added at t = 0."""
    times = SPACINGS.build("uniform")(SCHEDULE, 4)

    def only_last(size: float) -> torch.Tensor:
        return sample(DENOISER, SAMPLERS.build(name), times, X_T, lambda i, shape: torch.full(shape, size * (i == 3)))

    assert torch.equal(only_last(0.0), only_last(100.0))


def test_shape_and_dtype_are_kept_but_the_state_is_float64() -> None:
    """Catches a float32 state, whose rounding adds up over 1000 steps."""
    seen = []

    class Watching(GaussianDenoiser):
        def __call__(self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> Prediction:
            seen.append((x_t.dtype, t.dtype, t.ndim, cond))
            return super().__call__(x_t, t)

    answer = sample(Watching(SCHEDULE), SAMPLERS.build("ddim"), torch.tensor([1.0, 0.5, 0.0]), X_T, cond=X_T)
    assert (answer.shape, answer.dtype) == (X_T.shape, torch.float32)
    assert all(entry == (torch.float64, torch.float64, 0, X_T) for entry in seen)
    assert not answer.requires_grad


@pytest.mark.parametrize("times", [[0.5], [1.1, 0.0], [0.5, -0.1], [0.2, 0.5], [[1.0, 0.0]]])
def test_times_that_are_no_way_from_noise_to_data_are_refused(times: list[float]) -> None:
    with pytest.raises(InputError, match="times must be"):
        sample(DENOISER, SAMPLERS.build("ddim"), torch.tensor(times), X_T)


def test_a_stochastic_sampler_needs_noise_and_a_clip_needs_a_name() -> None:
    times = torch.tensor([1.0, 0.0])
    with pytest.raises(InputError, match="Ancestral is stochastic"):
        sample(DENOISER, SAMPLERS.build("ancestral"), times, X_T)
    with pytest.raises(InputError, match=r"did you mean 'x0'"):
        sample(DENOISER, SAMPLERS.build("ddim"), times, X_T, clip="x_0")
