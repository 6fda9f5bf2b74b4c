"""Samplers against diffusers, fed the same noise: every tolerance is max-abs 1e-5 in float64 on a random network.

The times are those that diffusers visits, so that the update rule alone is compared; spacings have their own tests.
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from oracles.diffusers_samplers import PaperDPMSolver3, on_betas, peer_by_index, peer_by_sigma, visited
from replication.check.models import SmallNetwork
from replication.diffusion import Denoiser, sample
from replication.diffusion.exponential import Node, hold_eps
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.samplers.linear_multistep import PNDM
from replication.diffusion.schedule import NoiseSchedule
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.types import Prediction

SCHEDULE = SCHEDULES.build("linear", T=1000)
FLOW = SCHEDULES.build("flow")
NETWORK = SmallNetwork().requires_grad_(False)
NOISE = ImageNoise(5, torch.arange(2))
X_T = NOISE.prior((2, 2, 4, 4)).double()
STEPS = [5, 20, 30]  # 30 does not divide T = 1000
PARAMETERIZATIONS = ["eps", "x0", "v"]

all_steps = pytest.mark.parametrize("steps", STEPS)
all_parameterizations = pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)


def noise(step: int, shape: torch.Size) -> Tensor:
    return NOISE(step, shape).double()


def ours(sampler: str, times: Tensor, parameterization: str = "eps", clip: str = "none", **options: Any) -> Tensor:
    denoiser = Denoiser(NETWORK, SCHEDULE, parameterization)
    return sample(denoiser, SAMPLERS.build(sampler, **options), times, X_T, noise, clip)


def by_index(peer: type, steps: int, parameterization: str, step: dict[str, Any], **options: Any) -> tuple[Any, Tensor]:
    made = on_betas(peer, SCHEDULE, parameterization, **options)
    made.set_timesteps(steps)
    return made, peer_by_index(made, NETWORK, X_T, noise, **step)


def by_sigma(
    peer: type, steps: int, parameterization: str, end: float = 0.0, stages: int = 1, **options: Any
) -> tuple[Tensor, Tensor]:
    """(times, the peer's answer) for a peer that evaluates `stages` times a step, evenly in half_log_snr inside it."""
    made, other = (on_betas(peer, SCHEDULE, parameterization, **options) for _ in range(2))
    made.set_timesteps(steps)  # which may change a peer's options for good
    times = visited(made, SCHEDULE, end)
    return times, peer_by_sigma(other, SCHEDULE, NETWORK, with_stages(times, stages), X_T, noise)


def with_stages(times: Tensor, stages: int) -> Tensor:
    lam, asked = SCHEDULE.half_log_snr(times), [times[:1]]
    for i in range(len(times) - 1):
        if lam[i + 1].isfinite():
            inner = torch.lerp(lam[i], lam[i + 1], torch.arange(1, stages).double() / stages)
            asked.append(SCHEDULE.time_at(inner))
        asked.append(times[i + 1 : i + 2])
    return torch.cat(asked)


def agree(answer: Tensor, expected: Tensor) -> bool:
    assert expected.std() > 0.1
    return bool((answer - expected).abs().max() < 1e-5)


@all_steps
@all_parameterizations
@pytest.mark.parametrize("variance", ["fixed-large", "fixed-small"])
@pytest.mark.parametrize("clip", ["none", "x0"])
def test_ancestral(variance: str, clip: str, parameterization: str, steps: int) -> None:
    """Catches clipping after the mean, beta_t of the single step on a subset of times, noise on the last step."""
    named = variance.replace("-", "_")
    peer, expected = by_index(DDPMScheduler, steps, parameterization, {}, variance_type=named, clip_sample=clip == "x0")
    assert agree(ours("ancestral", visited(peer, SCHEDULE), parameterization, clip, variance=variance), expected)


@all_steps
@all_parameterizations
@pytest.mark.parametrize("variance", ["learned", "learned-range"])
def test_ancestral_with_learned_variance(variance: str, parameterization: str, steps: int) -> None:
    """diffusers calls "learned" a variance that is not in logarithm, so it gets the exponential of ours.

    Catches v in [0, 1], the range of consecutive steps on a subset of times, the halves swapped, and exp(log_var) for a
    standard deviation.
    """

    def network(x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        answer = NETWORK(x, timestep)
        return torch.cat([answer, torch.tanh(answer.flip(1))], dim=1)

    def as_variance(x: Tensor, timestep: Tensor) -> Tensor:
        mean, about_variance = network(x, timestep).chunk(2, dim=1)
        return torch.cat([mean, about_variance if variance == "learned-range" else about_variance.exp()], dim=1)

    options = {"variance_type": variance.replace("-", "_"), "clip_sample": False}
    peer = on_betas(DDPMScheduler, SCHEDULE, parameterization, **options)
    peer.set_timesteps(steps)
    denoiser, sampler = (
        Denoiser(network, SCHEDULE, parameterization, variance),
        SAMPLERS.build("ancestral", variance="learned"),
    )
    answer = sample(denoiser, sampler, visited(peer, SCHEDULE), X_T, noise)
    assert agree(answer, peer_by_index(peer, as_variance, X_T, noise))


@all_steps
@all_parameterizations
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta: float, parameterization: str, steps: int) -> None:
    """Catches eta on the standard deviation's square, alpha taken at t instead of s, an end at alphas_cumprod[0]."""
    peer, expected = by_index(DDIMScheduler, steps, parameterization, {"eta": eta}, clip_sample=False)
    assert agree(ours("ddim", visited(peer, SCHEDULE), parameterization, eta=eta), expected)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("clip", "rederive"), [("x0", False), ("x0+eps", True)])
def test_ddim_clipped(clip: str, rederive: bool, eta: float) -> None:
    """Catches the two clips being mistaken for one another: with these they differ by more than 0.1."""
    peer, expected = by_index(DDIMScheduler, 10, "eps", {"eta": eta, "use_clipped_model_output": rederive})
    _, other = by_index(DDIMScheduler, 10, "eps", {"eta": eta, "use_clipped_model_output": not rederive})
    assert agree(ours("ddim", visited(peer, SCHEDULE), "eps", clip, eta=eta), expected)
    assert (expected - other).abs().max() > 0.1


def test_ddim_of_diffusers_disagrees_with_its_own_timesteps_under_linspace() -> None:
    """diffusers steps to t - T//S whatever comes next in its list. Both are pinned: its pairs of times, and ours.

    Its answer equals ours on its pairs (1e-5), and is more than 1e-3 from the answer on the times that it lists. Catches
    a step of T//S in place of the one that the times say.
    """
    peer, theirs = by_index(DDIMScheduler, 20, "eps", {}, clip_sample=False, timestep_spacing="linspace")
    times = visited(peer, SCHEDULE)
    denoiser, ddim, x = Denoiser(NETWORK, SCHEDULE), SAMPLERS.build("ddim"), X_T
    for t in times[:-1]:
        x, _ = ddim.step(denoiser, SCHEDULE, x, t, (t - 50 / 1000).clamp(min=0), None, None)
    assert agree(x, theirs)
    assert (ours("ddim", times) - theirs).abs().max() > 1e-3


@all_steps
@all_parameterizations
def test_euler(parameterization: str, steps: int) -> None:
    """Catches d(sigma) for d(sigma/alpha), and eps of the wrong end."""
    times, expected = by_sigma(EulerDiscreteScheduler, steps, parameterization, timestep_spacing="leading")
    assert agree(ours("euler", times, parameterization), expected)


def test_euler_of_diffusers_churns_after_the_network_was_asked() -> None:
    """EDM and k-diffusion churn first, and ask at the noise that x then has; diffusers asks at the noise it had before.

    Without churn the two agree (1e-5); with it they are more than 1e-3 apart. Ours keeps the moments: see the orders.
    Catches a network that is asked before the churn.
    """
    made = on_betas(EulerDiscreteScheduler, SCHEDULE, timestep_spacing="leading")
    made.set_timesteps(20)
    times = visited(made, SCHEDULE)
    for churn, same in ((0.0, True), (10.0, False)):
        options = {"s_churn": churn, "s_tmin": 0.1, "s_tmax": 10.0}
        theirs = peer_by_sigma(made, SCHEDULE, NETWORK, times, X_T, noise, **options)
        answer = ours("euler", times, S_churn=churn, S_tmin=0.1, S_tmax=10.0)
        assert agree(answer, theirs) if same else (answer - theirs).abs().max() > 1e-3


@all_steps
@pytest.mark.parametrize("parameterization", ["eps", "v"])  # diffusers has no "sample" here
def test_euler_ancestral(parameterization: str, steps: int) -> None:
    """Catches sigma_down and sigma_up swapped, and the noise scaled by sigma instead of sigma/alpha."""
    times, expected = by_sigma(EulerAncestralDiscreteScheduler, steps, parameterization, timestep_spacing="leading")
    assert agree(ours("euler_ancestral", times, parameterization), expected)


@all_steps
@all_parameterizations
def test_heun(parameterization: str, steps: int) -> None:
    """Catches the correction at sigma = 0, and averages of x0 and eps apart instead of d(x/alpha)/d(sigma/alpha)."""
    times, expected = by_sigma(HeunDiscreteScheduler, steps, parameterization, timestep_spacing="leading")
    assert agree(ours("heun", times, parameterization), expected)


@all_steps
@all_parameterizations
@pytest.mark.parametrize("order", [1, 2, 4])
def test_lms(order: int, parameterization: str, steps: int) -> None:
    """Catches coefficients of equal steps, polynomials in lambda, and one value too few."""
    made = on_betas(LMSDiscreteScheduler, SCHEDULE, parameterization, timestep_spacing="leading")
    made.set_timesteps(steps)
    times = visited(made, SCHEDULE)
    expected = peer_by_sigma(made, SCHEDULE, NETWORK, times, X_T, noise, order=order)
    assert agree(ours("lms", times, parameterization, order=order), expected)


def pndm_of_diffusers(steps: int, parameterization: str, plms: bool) -> tuple[Tensor, Tensor]:
    """(times, answer). Its `timesteps` have stages and repeats among them; the times are those of its leading spacing."""
    _, answer = by_index(PNDMScheduler, steps, parameterization, {}, skip_prk_steps=plms)
    return SPACINGS.build("leading")(SCHEDULE, steps), answer


def read_as_eps(parameterization: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The network's output as a peer that takes eps alone must get it, written out in alpha-bar."""

    def raw(x: Tensor, timestep: Tensor) -> Tensor:
        output, bar = NETWORK(x, timestep), SCHEDULE.alphas_cumprod[int(timestep[0])]
        alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        return {"eps": output, "x0": (x - alpha * output) / sigma, "v": alpha * output + sigma * x}[parameterization]

    return raw


STRIDES = {"plms": STEPS, "pndm": [5, 20, 60]}  # 60 does not divide T either, but its stride, 16, has a middle


@all_parameterizations
@pytest.mark.parametrize(("name", "steps"), [(name, steps) for name, all_ in STRIDES.items() for steps in all_])
def test_plms_and_pndm(name: str, steps: int, parameterization: str) -> None:
    """Catches a first step of one evaluation, the second step taken as the third, a Runge-Kutta stage that begins at the
    stage before it, and a middle in half_log_snr."""
    peer = on_betas(PNDMScheduler, SCHEDULE, skip_prk_steps=name == "plms")
    peer.set_timesteps(steps)
    expected = peer_by_index(peer, read_as_eps(parameterization), X_T, noise)
    assert agree(ours(name, SPACINGS.build("leading")(SCHEDULE, steps), parameterization), expected)


@pytest.mark.parametrize("name", ["plms", "pndm"])
def test_pndm_of_diffusers_mixes_velocities_of_different_images(name: str) -> None:
    """diffusers combines v of past steps and reads the sum as v of the present x_t; the LDM code reads each as eps first.

    Pinned: more than 1e-3 apart, though they agree where the peer gets eps (above); huggingface/diffusers#14816. Ours is
    the LDM code's. Catches v that is combined before it is read.
    """
    times, theirs = pndm_of_diffusers(20, "v", plms=name == "plms")
    assert (ours(name, times, "v") - theirs).abs().max() > 1e-3


class RoundedMiddle(PNDM):
    """What diffusers does where the stride is 33: it goes down by 16 to the first stage, and asks there as if by 17."""

    def start(self, denoise: DenoiseAt, schedule: NoiseSchedule, here: Prediction, t: Tensor, s: Tensor) -> list[Node]:
        stage, asked = t - 16 / 1000, t - 17 / 1000
        first = denoise(hold_eps(schedule, here, here.eps, t, stage), asked).eps
        second = denoise(hold_eps(schedule, here, first, t, asked), asked).eps
        return [
            (0.0, here.eps),
            (0.5, (first + second) / 2),
            (1.0, denoise(hold_eps(schedule, here, second, t, s), s).eps),
        ]


def test_pndm_of_diffusers_asks_beside_the_image_where_the_stride_is_odd() -> None:
    """At 30 steps the middle of a stride is no timestep. diffusers rounds it down for the image and up for the network.

    Pinned: its answer is that of RoundedMiddle (1e-5) and not that of the paper's (t + s)/2, from which it differs by
    more than 1e-4. Catches a middle that is rounded to the grid.
    """
    times, theirs = pndm_of_diffusers(30, "eps", plms=False)
    assert agree(sample(Denoiser(NETWORK, SCHEDULE), RoundedMiddle(), times, X_T), theirs)
    assert (ours("pndm", times) - theirs).abs().max() > 1e-4


@all_steps
@all_parameterizations
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("peer_lowers", "peer_end", "lower", "end"),
    [
        (True, "zero", "below-15", 0.0),
        (False, "zero", "at-zero", 0.0),
        (True, "sigma_min", "below-15", 1e-3),
        (False, "sigma_min", "at-zero", 1e-3),
    ],
)
def test_dpmpp_multistep(
    order: int, parameterization: str, steps: int, peer_lowers: bool, peer_end: str, lower: str, end: float
) -> None:
    """Catches the ratio of steps inverted, 2M's weight taken exactly, and lower orders at the wrong steps."""
    times, expected = by_sigma(
        DPMSolverMultistepScheduler,
        steps,
        parameterization,
        end,
        solver_order=order,
        lower_order_final=peer_lowers,
        final_sigmas_type=peer_end,
    )
    options = {} if order == 1 else {"lower_order_final": lower}
    name = {1: "ddim", 2: "dpmpp_2m", 3: "dpmpp_3m"}[order]
    assert agree(ours(name, times, parameterization, **options), expected)


@all_steps
@all_parameterizations
@pytest.mark.parametrize("order", [1, 2])
def test_dpmpp_multistep_sde(order: int, parameterization: str, steps: int) -> None:
    """Catches e^-h for e^-2h in the noise, and eta left out of either coefficient. Order 1 is DDIM with eta 1."""
    times, expected = by_sigma(
        DPMSolverMultistepScheduler,
        steps,
        parameterization,
        algorithm_type="sde-dpmsolver++",
        solver_order=order,
        lower_order_final=False,
    )
    answer = (
        ours("dpmpp_2m_sde", times, parameterization) if order == 2 else ours("ddim", times, parameterization, eta=1.0)
    )
    assert agree(answer, expected)


@all_steps
@all_parameterizations
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_singlestep(order: int, parameterization: str, steps: int) -> None:
    """Catches the middle taken in t, r1 and r2 swapped, and x0 held where eps should be. The end is diffusers': 1/T."""
    times, expected = by_sigma(
        PaperDPMSolver3 if order == 3 else DPMSolverSinglestepScheduler,
        steps,
        parameterization,
        1e-3,
        stages=order,
        algorithm_type="dpmsolver",
        solver_order=order,
        final_sigmas_type="sigma_min",
    )
    assert agree(ours(f"dpm_{order}", times, parameterization), expected)


def test_dpm_3_of_diffusers_simplifies_the_inner_stage() -> None:
    """Its "midpoint" has 1/2 where Lu et al. 2022a, algorithm 2, has the exact weight, which ours has (above).

    Pinned: more than 1e-3 apart at 10 steps. Catches the simplified weight taken over.
    """
    options = {"algorithm_type": "dpmsolver", "solver_order": 3, "final_sigmas_type": "sigma_min"}
    times, theirs = by_sigma(DPMSolverSinglestepScheduler, 10, "eps", 1e-3, stages=3, **options)
    assert (ours("dpm_3", times) - theirs).abs().max() > 1e-3


@all_steps
@all_parameterizations
@pytest.mark.parametrize("end", [("zero", 0.0), ("sigma_min", 1e-3)])
def test_dpmpp_2s(end: tuple[str, float], parameterization: str, steps: int) -> None:
    """Catches the first x0 mixed in again, and a step to sigma = 0 with a middle."""
    times, expected = by_sigma(
        DPMSolverSinglestepScheduler,
        steps,
        parameterization,
        end[1],
        stages=2,
        algorithm_type="dpmsolver++",
        solver_order=2,
        lower_order_final=end[0] == "zero",
        final_sigmas_type=end[0],
    )
    assert agree(ours("dpmpp_2s", times, parameterization), expected)


@all_steps
@all_parameterizations
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(order: int, variant: str, parameterization: str, steps: int) -> None:
    """Catches a corrector that is left out, corrects with the wrong order, or starts from the uncorrected image."""
    end, peer_end = (1e-3, "sigma_min") if variant == "bh1" else (0.0, "zero")  # its bh1 gives NaN at sigma = 0
    times, expected = by_sigma(
        UniPCMultistepScheduler,
        steps,
        parameterization,
        end,
        solver_order=order,
        solver_type=variant,
        final_sigmas_type=peer_end,
    )
    assert agree(ours("unipc", times, parameterization, order=order, variant=variant), expected)


def test_unipc_bh1_of_diffusers_ends_in_nan() -> None:
    """Its step to sigma = 0 multiplies B(h) = h = inf by no correction at all, 0. Pinned: NaN there, a number here.

    Catches the infinite weight at sigma = 0.
    """
    times, theirs = by_sigma(UniPCMultistepScheduler, 10, "eps", solver_type="bh1")
    assert theirs.isnan().all()
    assert ours("unipc", times, variant="bh1").isfinite().all()


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize(
    ("name", "peer", "options"),
    [
        ("dpmpp_2m", DPMSolverMultistepScheduler, {"solver_order": 2, "lower_order_final": False}),
        ("dpmpp_3m", DPMSolverMultistepScheduler, {"solver_order": 3, "lower_order_final": False}),
        ("unipc", UniPCMultistepScheduler, {"solver_order": 2}),
    ],
)
def test_on_the_straight_line_path(name: str, peer: type, options: dict[str, Any], steps: int) -> None:
    """Where diffusers has the path alpha = 1 - t too. Catches sigma taken for sigma/alpha, and alpha for sqrt(1 - sigma^2)."""
    times = torch.linspace(0.98, 0.0, steps + 1, dtype=torch.float64)
    made = on_betas(peer, SCHEDULE, "x0", use_flow_sigmas=True, **options)
    expected = peer_by_sigma(made, FLOW, NETWORK, times, X_T, noise)
    answer = sample(Denoiser(NETWORK, FLOW, "x0"), SAMPLERS.build(name), times, X_T)
    assert agree(answer, expected)


@all_steps
def test_euler_on_the_straight_line_path(steps: int) -> None:
    """diffusers' Euler of velocity, whose sigma is t. Catches x_t scaled by alpha, and the velocity's other sign."""
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    peer, x = FlowMatchEulerDiscreteScheduler(), X_T
    peer.set_timesteps(steps)
    peer.sigmas, peer.timesteps = times, FLOW.timestep(times[:-1])
    peer.set_begin_index(0)
    for k in peer.timesteps:
        with mock.patch("torch.float32", torch.float64):
            x = peer.step(NETWORK(x, k.expand(len(x))), k, x).prev_sample
    assert agree(sample(Denoiser(NETWORK, FLOW, "velocity"), SAMPLERS.build("euler"), times, X_T), x)
