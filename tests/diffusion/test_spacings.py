"""Spacings: the published rules, stated once more in numpy, off-by-ones and repeated times included."""

import numpy as np
import pytest
import torch

from replication.registry import SCHEDULES, SPACINGS
from replication.types import InputError

SCHEDULE = SCHEDULES.build("linear", T=1000)
STEPS = [1, 2, 3, 5, 6, 7, 10, 11, 20, 21, 25, 30, 50, 60, 100, 300, 500, 999, 1000]


def indices(name: str, n: int, T: int = 1000) -> list[int]:
    """The indices 0..T-1 that a spacing visits, ascending, as the papers' code counts them."""
    times = SPACINGS.build(name)(SCHEDULES.build("linear", T=T), n)
    assert times[-1] == 0
    k = times[:-1] * T - 1
    assert (k - k.round()).abs().max() <= 1e-9
    return k.round().long().tolist()[::-1]


def test_uniform_is_the_published_rule() -> None:
    """Exact. Catches linspace (20 steps would visit 999) and truncation to n steps."""
    for n in STEPS:
        assert indices("uniform", n) == list(range(0, 1000, 1000 // n)), n


@pytest.mark.parametrize("T", [1000, 4000])
def test_quadratic_is_the_published_rule(T: int) -> None:
    """Exact. Catches torch.linspace (off by one at 6, 11 and 21 steps), rounding, and a top of T instead of 0.8 T."""
    for n in [*STEPS, *range(4, 200, 13)]:
        published = [int(s) for s in np.linspace(0, np.sqrt(T * 0.8), n) ** 2]
        assert indices("quadratic", n, T) == published, n


def test_the_top_of_the_quadratic_rule_is_an_option_and_the_codes_own_is_in_no_key() -> None:
    """Exact. Catches a top that has no effect, one that leaves the schedule, and keys that change because it can be said."""
    times = SPACINGS.build("quadratic", top=0.999)(SCHEDULE, 20)
    assert (times[0] * 1000 - 1).item() == pytest.approx(998, abs=1e-9)
    assert SPACINGS.identity("quadratic", {}) == SPACINGS.identity("quadratic", {"top": 0.8})
    assert SPACINGS.identity("quadratic", {})["options"] == {}
    assert SPACINGS.identity("quadratic", {"top": 0.9})["options"] == {"top": 0.9}
    for top, message in ((0.0, "no share of T"), (1.5, "no share of T"), (1.0, "leads to index 1000")):
        with pytest.raises(InputError, match=message):
            SPACINGS.build("quadratic", top=top)(SCHEDULE, 20)


def test_published_oddities() -> None:
    """Exact, from the published code. Catches any tidying up of them."""
    assert indices("uniform", 20)[-1] == 950
    assert [len(indices("uniform", n)) for n in (30, 60, 300)] == [31, 63, 334]
    assert [len(set(indices("quadratic", n))) for n in (50, 100)] == [49, 96]
    assert [len(indices("quadratic", n)) for n in (50, 100)] == [50, 100]
    assert indices("quadratic", 50)[-1] == 800


@pytest.mark.parametrize("name", sorted({*SPACINGS.names()} - {"list"}))  # a list has no times of its own
def test_every_spacing_falls_from_noisy_to_clean_within_zero_and_one(name: str) -> None:
    """Exact. Catches ascending indices, float32 times, a two-dimensional answer, and a start above 1."""
    for n in (1, 2, 10, 100):
        times = SPACINGS.build(name)(SCHEDULE, n)
        assert (times.dtype, times.ndim) == (torch.float64, 1)
        assert len(times) >= n + 1
        assert bool((times.diff() <= 0).all())
        assert 0 <= times[-1] < times[0] <= 1


@pytest.mark.parametrize("name", SPACINGS.names())
def test_a_bad_number_of_steps_is_refused(name: str) -> None:
    """Catches True taken for 1, 2.5 for 2, no step at all, and more steps than there are times."""
    for n in (0, -3, 2.5, True, 1001):
        with pytest.raises(InputError, match="more than the schedule's T = 1000" if n == 1001 else "positive whole"):
            SPACINGS.build(name)(SCHEDULE, n)
