"""Parameterizations: each is a change of variables that loses nothing, and the denoiser reads them all alike."""

import pytest
import torch

from replication.diffusion import Denoiser
from replication.diffusion.forward import marginal, posterior
from replication.diffusion.parameterization import PARAMETERIZATIONS, named
from replication.registry import SCHEDULES
from replication.types import InputError, Prediction

SCHEDULE = SCHEDULES.build("linear")
TIMES = torch.tensor([1, 2, 500, 1000], dtype=torch.float64) / 1000


def truth() -> tuple[Prediction, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return Prediction(x0, eps), marginal(SCHEDULE, x0, TIMES, eps)


@pytest.mark.parametrize("name", sorted(PARAMETERIZATIONS))
def test_the_true_output_is_read_back_as_the_truth(name: str) -> None:
    """max-abs <= 1e-9 (mean divides by 1e-4). Catches the sign of v, and s = t in the mean."""
    p, x_t = truth()
    output = named(name).output(p, x_t, TIMES, SCHEDULE)
    read = named(name).prediction(output, x_t, TIMES, SCHEDULE)
    assert (read.x0 - p.x0).abs().max() <= 1e-9
    assert (read.eps - p.eps).abs().max() <= 1e-9


@pytest.mark.parametrize("name", sorted(PARAMETERIZATIONS))
def test_any_output_is_a_split_of_x_t(name: str) -> None:
    """x_t = alpha x0 + sigma eps to 1e-9, for an output that is not true. Catches eps left as it was."""
    _, x_t = truth()
    x0, eps = named(name).prediction(torch.ones_like(x_t), x_t, TIMES, SCHEDULE)[:2]
    assert (marginal(SCHEDULE, x0, TIMES, eps) - x_t).abs().max() <= 1e-9


def test_published_meanings() -> None:
    """max-abs <= 1e-12, written out. Catches names that were swapped: a round trip would not notice."""
    p, x_t = truth()
    said = {name: named(name).output(p, x_t, TIMES, SCHEDULE) for name in PARAMETERIZATIONS}
    alpha, sigma = (c(TIMES)[:, None, None, None] for c in (SCHEDULE.alpha, SCHEDULE.sigma))
    assert torch.equal(said["eps"], p.eps)
    assert torch.equal(said["x0"], p.x0)
    assert (said["v"] - (alpha * p.eps - sigma * p.x0)).abs().max() <= 1e-12
    assert (said["mean"] - posterior(SCHEDULE, x_t, p.x0, TIMES, TIMES - 0.001)[0]).abs().max() <= 1e-12


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'epsilon'.*did you mean 'eps'"):
        Denoiser(lambda x, timestep, cond: x, SCHEDULE, "epsilon")


def test_the_network_hears_the_index_in_its_own_precision_and_answers_in_that_of_x() -> None:
    """Exact. Catches k instead of k - 1, times instead of timesteps, and a float32 state."""
    heard = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor, timestep: torch.Tensor, cond: object) -> torch.Tensor:
            heard.append((x.dtype, timestep, cond))
            return x

    x = torch.zeros(4, 2, 3, 3, dtype=torch.float64)
    denoiser = Denoiser(Network(), SCHEDULE)
    assert denoiser(x, TIMES, cond=TIMES).eps.dtype == torch.float64
    assert denoiser(x, TIMES[3]).log_var is None
    assert torch.equal(heard[0][1], torch.tensor([0.0, 1.0, 499.0, 999.0]))
    assert heard[0][0] == torch.float32
    assert heard[0][2] is TIMES
    assert torch.equal(heard[1][1], torch.full((4,), 999.0))


def test_twice_the_channels_are_read_as_mean_and_log_variance() -> None:
    """Exact. Catches halves that were swapped."""
    denoiser = Denoiser(lambda x, timestep, cond: torch.cat([x, x + 1], dim=1), SCHEDULE)
    x = torch.randn(4, 2, 3, 3)
    prediction = denoiser(x, TIMES)
    assert not prediction.is_range
    assert torch.equal(prediction.eps, x)
    assert prediction.log_var is not None
    assert torch.equal(prediction.log_var, x + 1)


@pytest.mark.parametrize("path", ["linear", "ve", "flow"])
def test_the_mean_of_the_first_step_is_x0(path: str) -> None:
    """max-abs <= 1e-9. At 1/T, and where rounding leaves a stage just before it, the step ends at 0, where the mean is x0.

    Catches: a time below 0, and NaN from it, as DPM-Solver's stages met at the quadratic rule's repeated times."""
    schedule, x0 = SCHEDULES.build(path), torch.full((1, 1, 2, 2), 0.3, dtype=torch.float64)
    for t in torch.tensor([1, 1 - 1e-12], dtype=torch.float64) / schedule.T:
        read = named("mean").prediction(x0, torch.ones_like(x0), t, schedule)
        assert (read.x0 - x0).abs().max() <= 1e-9
        assert read.eps.isfinite().all()
