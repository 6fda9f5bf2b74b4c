"""The sampling loop: what it asks of its parts, over the whole registry of samplers, and what it refuses."""

from collections.abc import Sequence

import pytest
import torch

from replication.check.exact import GaussianDenoiser
from replication.diffusion import sample
from replication.diffusion.denoiser import Counted
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.types import InputError, Prediction

SCHEDULE = SCHEDULES.build("linear", T=1000)
DENOISER = GaussianDenoiser(SCHEDULE)
X_T = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def zeros(step: int, shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros(*shape)


FLOW = SCHEDULES.build("flow")
PLACES = torch.tensor([0.9, 0.9, 0.7, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.0], dtype=torch.float64)
VISITED = [
    *((SCHEDULE, SPACINGS.build(spacing)(SCHEDULE, 50)) for spacing in ("uniform", "quadratic", "karras")),
    *((SCHEDULE, PLACES[: n + 1]) for n in range(1, 10)),  # early times repeat
    *((FLOW, torch.linspace(1, 0, n + 1, dtype=torch.float64)) for n in (1, 2, 5)),  # no signal at the start
]


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_evaluations_are_those_that_the_sampler_declares(name: str) -> None:
    """Exact. Catches an evaluation to warm up, one at t = 0, and repeated times (quadratic, 50 steps) being dropped; a middle or a
    correction where there is no signal; a start that a repeated time prolongs, or whose stages it pays for unsaid."""
    sampler = SAMPLERS.build(name)
    for schedule, times in VISITED:
        counted = Counted(GaussianDenoiser(schedule))
        sample(counted, sampler, times, X_T, zeros)
        assert counted.nfe == sampler.nfe(schedule, times), times


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ddim", 18),
        ("heun", 35),
        ("plms", 19),
        ("pndm", 27),
        ("dpm_2", 35),
        ("dpm_3", 52),
        ("dpmpp_2s", 35),
        ("unipc", 18),
    ],
)
def test_published_numbers_of_evaluations(name: str, expected: int) -> None:
    """Of 18 steps that end at sigma = 0: EDM's 35 with Heun, N + 1 with PLMS, N + 9 with PNDM. Catches a wrong declaration."""
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


NAN = float("nan")


@pytest.mark.parametrize(
    "times",
    [
        [],
        [0.5],
        [1.1, 0.0],
        [0.5, -0.1],
        [0.2, 0.5],
        [0.9, 0.2, 0.5, 0.0],
        [[1.0, 0.0]],
        [NAN, 0.0],
        [1.0, NAN, 0.0],
        [1.0, NAN],
    ],
)
def test_times_that_are_no_way_from_noise_to_data_are_refused(times: list[float]) -> None:
    """Catches a check of the ends alone, and one that NaN passes because it is not greater."""
    with pytest.raises(InputError, match="times must be"):
        sample(DENOISER, SAMPLERS.build("ddim"), torch.tensor(times), X_T)


def test_more_distinct_times_than_the_schedule_has_are_refused() -> None:
    """Exact at T and T + 1 steps. Catches a count of all times, and one that takes the end for a step."""
    denoiser, ddim = GaussianDenoiser(SCHEDULES.build("linear", T=10)), SAMPLERS.build("ddim")
    times = torch.linspace(1, 0, 11, dtype=torch.float64)
    sample(denoiser, ddim, torch.cat([times[:-1].repeat_interleave(3), times[-1:]]), X_T)
    with pytest.raises(InputError, match="11 steps between distinct times are more than the schedule's T = 10"):
        sample(denoiser, ddim, torch.linspace(1, 0, 12, dtype=torch.float64), X_T)


@pytest.mark.parametrize(
    ("schedule", "times"), [("flow", [1.0, 1.0, 0.5]), ("flow", [0.5, 0.0, 0.0]), ("linear", [1.0, 0.0, 0.0])]
)
def test_times_that_repeat_without_signal_or_noise_are_refused(schedule: str, times: list[float]) -> None:
    """Catches the NaN that 0/0 makes of it in DDIM and Heun; t = 1 may repeat where there is a signal."""
    denoiser, ddim = GaussianDenoiser(SCHEDULES.build(schedule)), SAMPLERS.build("ddim")
    with pytest.raises(InputError, match="must not repeat where no signal or no noise is left"):
        sample(denoiser, ddim, torch.tensor(times), X_T)
    assert sample(DENOISER, ddim, torch.tensor([1.0, 1.0, 0.0]), X_T).isfinite().all()


def test_a_stochastic_sampler_needs_noise_and_a_clip_needs_a_name() -> None:
    """Catches zeros taken for the noise that was not given, and an unknown clip taken for none."""
    times = torch.tensor([1.0, 0.0])
    with pytest.raises(InputError, match="Ancestral is stochastic"):
        sample(DENOISER, SAMPLERS.build("ancestral"), times, X_T)
    with pytest.raises(InputError, match=r"did you mean 'x0'"):
        sample(DENOISER, SAMPLERS.build("ddim"), times, X_T, clip="x_0")
