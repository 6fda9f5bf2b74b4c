"""Every spacing against an independent statement, off-by-ones and repeated times included: the published rules in numpy,
diffusers' timesteps and sigmas, EDM's, IDDPM's strings, DPM-Solver's."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EDMEulerScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SCHEDULES, SPACINGS
from replication.types import InputError

STEPS = [1, 2, 3, 5, 6, 7, 10, 11, 16, 20, 21, 25, 30, 48, 50, 60, 90, 96, 100, 300, 333, 500, 999, 1000]
LINEAR = SCHEDULES.build("linear")
WITHOUT_LIST = sorted({*SPACINGS.names()} - {"list"})  # a list has no times of its own
BY_RATIO = ["karras", "log_snr", "exponential"]


def indices(times: torch.Tensor, T: int = 1000) -> np.ndarray:
    """The indices 0..T-1 that are visited before the end, from the top."""
    return (times[:-1] * T - 1).numpy()


def ratios(schedule: NoiseSchedule, times: torch.Tensor) -> np.ndarray:
    return torch.exp(-schedule.half_log_snr(times)).numpy()


def published(name: str, n: int, T: int = 1000) -> list[int]:
    """The indices 0..T-1 that a spacing visits, ascending, as the papers' code counts them."""
    times = SPACINGS.build(name)(SCHEDULES.build("linear", T=T), n)
    assert times[-1] == 0
    k = times[:-1] * T - 1
    assert (k - k.round()).abs().max() <= 1e-9
    return k.round().long().tolist()[::-1]


def test_uniform_is_the_published_rule() -> None:
    """Exact. Catches linspace (20 steps would visit 999) and truncation to n steps."""
    for n in STEPS:
        assert published("uniform", n) == list(range(0, 1000, 1000 // n)), n


@pytest.mark.parametrize("T", [1000, 4000])
def test_quadratic_is_the_published_rule(T: int) -> None:
    """Exact. Catches torch.linspace (off by one at 6, 11 and 21 steps), rounding, and a top of T instead of 0.8 T."""
    for n in [*STEPS, *range(4, 200, 13)]:
        expected = [int(s) for s in np.linspace(0, np.sqrt(T * 0.8), n) ** 2]
        assert published("quadratic", n, T) == expected, n


def test_the_top_of_the_quadratic_rule_is_an_option_and_the_codes_own_is_in_no_key() -> None:
    """Exact. Catches a top that has no effect, one that leaves the schedule, and keys that change because it can be said."""
    times = SPACINGS.build("quadratic", top=0.999)(LINEAR, 20)
    assert (times[0] * 1000 - 1).item() == pytest.approx(998, abs=1e-9)
    assert SPACINGS.identity("quadratic", {}) == SPACINGS.identity("quadratic", {"top": 0.8})
    assert SPACINGS.identity("quadratic", {})["options"] == {}
    assert SPACINGS.identity("quadratic", {"top": 0.9})["options"] == {"top": 0.9}
    for top, message in ((0.0, "no share of T"), (1.5, "no share of T"), (1.0, "leads to index 1000")):
        with pytest.raises(InputError, match=message):
            SPACINGS.build("quadratic", top=top)(LINEAR, 20)


def test_published_oddities() -> None:
    """Exact, from the published code. Catches any tidying up of them."""
    assert published("uniform", 20)[-1] == 950
    assert [len(published("uniform", n)) for n in (30, 60, 300)] == [31, 63, 334]
    assert [len(set(published("quadratic", n))) for n in (50, 100)] == [49, 96]
    assert [len(published("quadratic", n)) for n in (50, 100)] == [50, 100]
    assert published("quadratic", 50)[-1] == 800


@pytest.mark.parametrize("name", WITHOUT_LIST)
def test_every_spacing_falls_from_noisy_to_clean_within_zero_and_one(name: str) -> None:
    """Exact. Catches ascending indices, float32 times, a two-dimensional answer, and a start above 1."""
    for n in (1, 2, 10, 100):
        times = SPACINGS.build(name)(LINEAR, n)
        assert (times.dtype, times.ndim) == (torch.float64, 1)
        assert len(times) >= n + 1
        assert bool((times.diff() <= 0).all())
        assert 0 <= times[-1] < times[0] <= 1


@pytest.mark.parametrize("name", SPACINGS.names())
def test_a_bad_number_of_steps_is_refused(name: str) -> None:
    """Catches True taken for 1, 2.5 for 2, no step at all, and more steps than there are times."""
    for n in (0, -3, 2.5, True, 1001):
        with pytest.raises(InputError, match="more than the schedule's T = 1000" if n == 1001 else "positive whole"):
            SPACINGS.build(name)(LINEAR, n)


@pytest.mark.parametrize(("name", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
def test_timesteps_are_those_of_diffusers(name: str, offset: int) -> None:
    """Exact. Catches the stride of another rule, halves rounded up, an offset after the flip, a missing last index, and
    numpy arithmetic done in another order (48 and 96 steps trailing)."""
    spacing = SPACINGS.build(name, **({"offset": offset} if name == "leading" else {}))
    for n in STEPS:
        if n == 1 and name == "linspace":
            continue  # theirs is index 0, from which there is nothing to do
        if n == 1000 and offset:
            with pytest.raises(InputError, match="index 1000 of 1000"):
                spacing(LINEAR, n)
            continue
        peer = DDIMScheduler(1000, timestep_spacing=name, steps_offset=offset)
        peer.set_timesteps(n)
        times = spacing(LINEAR, n)
        assert np.abs(indices(times) - peer.timesteps.numpy()).max() <= 1e-9, n
        assert times[-1] == 0


def test_trailing_leaves_out_the_index_that_diffusers_invents() -> None:
    """Exact, and both pinned: theirs has a 62nd timestep, -1. Catches numpy's arange taken over with its length."""
    peer = DDIMScheduler(1000, timestep_spacing="trailing")
    peer.set_timesteps(61)
    found = indices(SPACINGS.build("trailing")(LINEAR, 61)).round().tolist()
    assert [*found, -1] == peer.timesteps.tolist()


@pytest.mark.parametrize("n", [2, 10, 18, 50])
def test_karras_and_exponential_sigmas_are_those_of_diffusers(n: int) -> None:
    """Relative 1e-4: diffusers keeps float32 tables. Catches rho 1, sigmas uniform in t, a range from 1/T of t."""
    for name, option in (("karras", "use_karras_sigmas"), ("exponential", "use_exponential_sigmas")):
        peer = EulerDiscreteScheduler(1000, beta_start=1e-4, beta_end=0.02, **{option: True})
        peer.set_timesteps(n)
        times = SPACINGS.build(name)(LINEAR, n)
        assert times[-1] == 0
        assert np.abs(ratios(LINEAR, times[:-1]) / peer.sigmas[:-1].numpy() - 1).max() <= 1e-4


def test_karras_on_ve_is_edm() -> None:
    """max-abs <= 1e-4 in sigma against diffusers' EDM (float32). Catches sigma_min that is not reached, and rho 1/7."""
    peer = EDMEulerScheduler(sigma_min=0.002, sigma_max=80)
    peer.set_timesteps(18)
    ve = SCHEDULES.build("ve")
    times = SPACINGS.build("karras", sigma_min=0.002)(ve, 18)
    assert np.abs(ve.sigma(times).numpy() - peer.sigmas.numpy()).max() <= 1e-4
    assert abs(float(ve.sigma(times[-2])) - 0.002) <= 1e-15


def test_dpm_solver_spacings_end_at_one_over_n() -> None:
    """max-abs <= 1e-12: time_uniform and logSNR of the official code. Catches N + 1 steps, and rounding to the grid."""
    for n in (1, 7, 20):
        times = SPACINGS.build("linspace", round=False, end="first")(LINEAR, n)
        assert np.abs(times.numpy() - np.linspace(1, 1 / 1000, n + 1)).max() <= 1e-12
        lam = LINEAR.half_log_snr(SPACINGS.build("log_snr", end="first")(LINEAR, n))
        ends = LINEAR.half_log_snr(torch.tensor([1, 1 / 1000], dtype=torch.float64))
        assert np.abs(lam.numpy() - np.linspace(*ends.tolist(), n + 1)).max() <= 1e-9


def section(start: int, size: int, count: int) -> list[int]:
    """Both ends of a section and what lies evenly between, rounded half to even, in exact fractions."""
    return [start + round(Fraction((size - 1) * i, max(count - 1, 1))) for i in range(count)]


@pytest.mark.parametrize(
    ("sections", "parts", "T"),
    [("250", [(0, 1000, 250)], 1000), ("50", [(0, 4000, 50)], 4000), ("10,10", [(0, 500, 10), (500, 500, 10)], 1000),
     ("10,10,3,2,2", [(200 * i, 200, c) for i, c in enumerate((10, 10, 3, 2, 2))], 1000),
     ("4,6,1", [(0, 34, 4), (34, 33, 6), (67, 33, 1)], 100)],
)  # fmt: skip
def test_iddpm_sections(sections: str, parts: list[tuple[int, int, int]], T: int) -> None:
    """Exact. Catches an integer stride, a missing T - 1, extra indices in the last sections, count 1 at the end."""
    expected = [i for p in parts for i in section(*p)]
    schedule = SCHEDULES.build("linear", T=T)
    times = SPACINGS.build("iddpm", sections=sections)(schedule, len(expected))
    assert indices(times, T).round(6).tolist() == expected[::-1]
    if "," not in sections:
        assert torch.equal(times, SPACINGS.build("iddpm")(schedule, len(expected)))


def test_iddpm_strides() -> None:
    """Exact: "ddim20" is 0, 50, .., 950. Catches T // N where a smaller stride gives N, and 300 taken for 334."""

    def visited(n: int, T: int = 1000) -> list[float]:
        times = SPACINGS.build("iddpm", sections=f"ddim{n}")(SCHEDULES.build("linear", T=T), n)
        return indices(times, T).round(6).tolist()[::-1]

    assert visited(20) == list(range(0, 1000, 50))
    assert visited(334) == list(range(0, 1000, 3))
    assert visited(4, 10) == [0, 3, 6, 9]  # stride 3, not 10 // 4 = 2
    with pytest.raises(InputError, match="no whole stride visits exactly 300 of 1000"):
        visited(300)


@pytest.mark.parametrize("n", [1, 20, 200, 250, 400])
def test_ldms_times_are_the_official_ones(n: int) -> None:
    """Exact: util.py's range(0, 1000, 1000 // n) + 1, ending at 1/T. Catches n steps where the stride makes more, and n
    times an index beyond the schedule.
    """
    schedule = SCHEDULES.build("scaled_linear")
    times = SPACINGS.build("ldm")(schedule, n)
    assert schedule.timestep(times[:-1]).round().tolist() == [k + 1 for k in range(0, 1000, 1000 // n)][::-1]
    assert len(times) == (501 if n == 400 else n + 1)
    for beyond in (37, 501):
        with pytest.raises(InputError, match="lead to index 1000, one too many"):
            SPACINGS.build("ldm")(schedule, beyond)


@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_every_spacing_on_every_schedule(schedule: str) -> None:
    """Exact ends, finite, strictly falling but for quadratic. Catches an infinite half_log_snr that becomes a NaN."""
    built = SCHEDULES.build(schedule)
    for name, n in [(one, n) for one in WITHOUT_LIST for n in (1, 2, 10, 38 if one == "ldm" else 37)]:
        times = SPACINGS.build(name)(built, n)
        assert bool(times.isfinite().all())
        assert bool((times.diff() < 0).all()) or name == "quadratic"
        assert len(times) == n + 1 or name in {"uniform", "ldm"}
        assert times[-1] < times[0] <= 1
        assert times[-1] == (0.001 if name == "ldm" else 0)
        if name in {"trailing", "linspace"}:
            assert times[0] == 1
        if name in BY_RATIO:
            assert times[0] == (0.999 if built.alpha(torch.ones(1)) == 0 else 1)
            assert n == 1 or times[-2] == 0.001


@pytest.mark.parametrize("name", ["leading", "trailing", "linspace", *BY_RATIO])
def test_end_first_is_one_over_t_with_the_same_number_of_steps(name: str) -> None:
    """Exact. Catches an end that adds a step, and one that is 0 all the same."""
    times = SPACINGS.build(name, end="first")(LINEAR, 20)
    assert len(times) == 21
    assert times[-1] == 0.001
    with pytest.raises(InputError, match=r"unknown end 'frist'; did you mean 'first'"):
        SPACINGS.build(name, end="frist")


def test_ldm_ends_at_its_first_alpha_bar() -> None:
    """Exact: timesteps 1, 51, .., 951 and then index 0. Catches offset 1 on the end, or none on the top."""
    times = SPACINGS.build("leading", offset=1, end="first")(LINEAR, 20)
    assert (times * 1000 - 1).round().tolist() == [*range(951, 0, -50), 0]


def test_non_divisors_and_identity_steps_are_as_documented() -> None:
    """Exact. Catches any tidying up: the numbers stand in the docstrings."""
    assert indices(SPACINGS.build("leading")(LINEAR, 300))[0].round() == 897
    assert len(SPACINGS.build("leading")(LINEAR, 300)) == 301
    for name, n in (("leading", 20), ("trailing", 1000)):
        assert SPACINGS.build(name, end="first")(LINEAR, n).diff()[-1] == 0
    steps = np.diff(indices(SPACINGS.build("trailing")(LINEAR, 300))).round()
    assert set(steps.tolist()) == {-3, -4}
    assert np.abs(np.diff(indices(SPACINGS.build("trailing", round=False)(LINEAR, 300))) + 10 / 3).max() <= 1e-9
    with pytest.raises(InputError, match="need 1001 timesteps, more than the schedule's T = 1000"):
        SPACINGS.build("linspace", end="first")(LINEAR, 1000)


def test_a_range_is_respected_or_refused() -> None:
    """max-abs <= 1e-9 in the ratio. Catches a range that is taken for one in sigma, and one that is clamped."""
    flow = SCHEDULES.build("flow")
    for name in BY_RATIO:
        found = ratios(flow, SPACINGS.build(name, sigma_min=0.01, sigma_max=9.0)(flow, 5))
        assert np.abs(found[[0, -2]] - [9.0, 0.01]).max() <= 1e-9
        for options, message in (({"sigma_max": 200.0}, "beyond t = 1"), ({"sigma_min": 0.0}, "must be positive"),
                                 ({"sigma_min": 2.0, "sigma_max": 1.0}, "empty")):  # fmt: skip
            with pytest.raises(InputError, match=message):
                SPACINGS.build(name, **options)(LINEAR, 5)


def test_a_list_is_taken_as_it_is() -> None:
    """Exact. Catches timesteps that are taken for k, and a list that is sorted, padded or cut to n_steps."""
    times = SPACINGS.build("list", timesteps=[999, 600.5, 0])(LINEAR, 3)
    assert times.tolist() == [1.0, 0.6015, 0.001, 0.0]
    assert SPACINGS.build("list", timesteps=[999, 5], end="first")(LINEAR, 2).tolist() == [1.0, 0.006, 0.001]
    assert SPACINGS.build("list", times=[0.9, 0.5, 0.01])(SCHEDULES.build("ve"), 2).tolist() == [0.9, 0.5, 0.01]


@pytest.mark.parametrize(
    ("name", "options", "n", "message"),
    [("list", {}, 2, "needs a list"), ("list", {"times": [1.0, 0.0], "timesteps": [3]}, 1, "times stand alone"),
     ("list", {"times": [1.0, 0.0], "end": "first"}, 1, "times stand alone"),
     ("list", {"times": [1.0, 0.0]}, 2, "2 times are listed: they make 1 steps, not 2"),
     ("list", {"timesteps": [9, 5, 5]}, 3, "fall strictly"),
     ("list", {"timesteps": [5, 0], "end": "first"}, 2, "fall strictly"),
     ("list", {"timesteps": [1000]}, 1, "within 0 to 999"), ("list", {"times": [1.1, 0.0]}, 1, "within 0 to 1"),
     ("list", {"times": [0.5, -0.1]}, 1, "within 0 to 1"),
     ("iddpm", {"sections": "10,10"}, 21, "are 20 steps, not 21"), ("iddpm", {"sections": "10,x"}, 10, "positive counts"),
     ("iddpm", {"sections": "ddim5,5"}, 10, "a stride has no sections"),
     ("iddpm", {"sections": "600,1"}, 601, "section 1 of 2 has 500 indices, fewer than the 600"),
     ("leading", {"offset": -1}, 2, "offset must be"), ("karras", {"rho": 0.0}, 2, "rho must be positive")],
)  # fmt: skip
def test_bad_options_are_refused(name: str, options: dict, n: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPACINGS.build(name, **options)(LINEAR, n)


def test_timesteps_are_for_discrete_schedules() -> None:
    with pytest.raises(InputError, match="Flow schedule has no timestep indices"):
        SPACINGS.build("list", timesteps=[9, 5])(SCHEDULES.build("flow"), 2)


def test_shifted_times_are_those_of_diffusers_for_sd3_and_flux() -> None:
    """max-abs 1e-6 of its float32. Catches: a shift that is made once where SD3's is made twice at the end, or the other way
    round, and exp(mu) for mu."""
    flow = SCHEDULES.build("flow")
    for n in (1, 4, 28, 50):
        sd3 = FlowMatchEulerDiscreteScheduler(1000, shift=3.0)
        sd3.set_timesteps(n)
        assert np.abs(SPACINGS.build("shifted")(flow, n).numpy() - sd3.sigmas.numpy()).max() <= 1e-6
        flux = FlowMatchEulerDiscreteScheduler(1000, use_dynamic_shifting=True)
        flux.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n), mu=1.15)
        ours = SPACINGS.build("shifted", shift=float(np.exp(1.15)), start="even")(flow, n)
        assert np.abs(ours.numpy() - flux.sigmas.numpy()).max() <= 1e-6
    with pytest.raises(InputError, match="shift must be above 0, not 0"):
        SPACINGS.build("shifted", shift=0.0)
