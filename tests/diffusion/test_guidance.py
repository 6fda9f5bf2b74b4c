"""Wrappers of a denoiser: guidance's algebra, channels, interval and cost; thresholding; learned-range variance."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from replication.check.exact import GaussianDenoiser
from replication.diffusion import Denoiser, sample
from replication.diffusion.denoiser import Clipped, Counted, clipped
from replication.diffusion.forward import marginal, posterior, reverse_variance, transition
from replication.diffusion.guidance import ClassifierGuided, Guided
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.types import InputError, Prediction

SCHEDULE = SCHEDULES.build("linear")
T_HALF = torch.tensor(0.5, dtype=torch.float64)
NULL = torch.tensor(10)
COND = torch.tensor([3, 7])
X = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Labelled:
    """eps = x + label and v = label / 20, at a known cost; the batches it saw are kept."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x: torch.Tensor, timestep: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
        assert cond is not None
        assert len(timestep) == len(cond) == len(x)
        self.batches.append(len(x))
        label = cond.to(x)[:, None, None, None] + torch.zeros_like(x)
        return torch.cat([x + label, label / 20], dim=1)


def guided(weight: float, **options: object) -> tuple[Guided, Labelled]:
    network = Labelled()
    return Guided(Denoiser(network, SCHEDULE, variance="learned-range"), weight, NULL, **options), network


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_guidance_is_uncond_plus_weight_times_the_difference(weight: float) -> None:
    """max-abs <= 1e-12. Catches the s = w - 1 convention, conditional and null swapped, and a log_var that is guided."""
    denoise, network = guided(weight)
    p = denoise(X, T_HALF, COND)
    label = COND.double()[:, None, None, None]
    assert (p.eps - (X + 10 + weight * (label - 10))).abs().max() <= 1e-12
    assert (marginal(SCHEDULE, p.x0, T_HALF, p.eps) - X).abs().max() <= 1e-12
    assert p.log_var is not None
    assert (p.log_var - label / 20).abs().max() <= 1e-12
    assert p.is_range
    assert network.batches == [2 if weight == 1 else 4]


@pytest.mark.parametrize("channels", ["dit", 3, 1])
def test_only_the_first_channels_are_guided(channels: str | int) -> None:
    """max-abs <= 1e-12: the others are conditional. Catches null ones, the last instead of the first, and x0 left out."""
    n = 3 if channels == "dit" else int(channels)
    denoise, _ = guided(2.0, channels=channels)
    p, label = denoise(X, T_HALF, COND), COND.double()[:, None, None, None]
    assert (p.eps[:, :n] - (X + 2 * label - 10)[:, :n]).abs().max() <= 1e-12
    assert (p.eps[:, n:] - (X + label)[:, n:]).abs().max() <= 1e-12
    assert (marginal(SCHEDULE, p.x0, T_HALF, p.eps) - X).abs().max() <= 1e-12


def test_outside_its_interval_guidance_is_off_and_costs_nothing() -> None:
    """Exact, ends included, and per image where the times of a batch differ. Catches open ends and one `on` for all."""
    denoise, network = guided(3.0, interval=(0.2, 0.5))
    for t, on in ((0.19, False), (0.2, True), (0.5, True), (0.51, False)):
        network.batches.clear()
        said = denoise(X, torch.tensor(t, dtype=torch.float64), COND).eps
        label = COND.double()[:, None, None, None]
        assert (said - (X + (3 * label - 20 if on else label))).abs().max() <= 1e-12
        assert network.batches == [4 if on else 2]
    mixed = denoise(X, torch.tensor([0.3, 0.9], dtype=torch.float64), COND).eps
    assert (mixed - X - torch.tensor([3 * 3.0 - 20, 7.0])[:, None, None, None]).abs().max() <= 1e-12


@pytest.mark.parametrize(
    ("weight", "interval", "nfe"), [(1.0, (0.0, 1.0), 10), (2.0, (0.0, 1.0), 20), (2.0, (0.25, 0.65), 14)]
)
def test_an_evaluation_counts_for_every_half(weight: float, interval: tuple[float, float], nfe: int) -> None:
    """Exact, clipping in between. Catches a doubled batch that counts once, and two where guidance is off."""
    denoise, network = guided(weight, interval=interval)
    counted, sampler = Counted(Clipped(denoise, rederive=False)), SAMPLERS.build("ddim")
    times, x = SPACINGS.build("trailing")(SCHEDULE, 10), X
    for i in range(10):
        x, _ = sampler.step(lambda a, t: counted(a, t, COND), SCHEDULE, x, times[i], times[i + 1], None, sampler.init())
    assert counted.nfe == nfe == sum(network.batches) / 2


def test_bad_guidance_is_refused() -> None:
    for options, message in (({"channels": "dti"}, "did you mean 'dit'"), ({"channels": 0}, "must be a positive number"),
                             ({"interval": (0.5, 0.2)}, "interval"), ({"interval": (0.5, 2.0)}, "interval")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            guided(2.0, **options)
    with pytest.raises(InputError, match="needs a condition"):
        guided(2.0)[0](X, T_HALF)
    with pytest.raises(InputError, match="5 channels are to be guided, but the image has 4"):
        guided(2.0, channels=5)[0](X, T_HALF, COND)


def exact(x0: torch.Tensor) -> Denoiser:
    return Denoiser(lambda x, timestep, cond: x0, SCHEDULE, "x0")


def test_dynamic_thresholding_is_that_of_diffusers() -> None:
    """max-abs <= 1e-12, one image beyond [-1, 1] and one within. Catches a percentile of the batch, and q below 1."""
    x0 = X * torch.tensor([3.0, 0.1])[:, None, None, None]
    peer = DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=0.995, sample_max_value=1e9)
    expected = peer._threshold_sample(x0)
    kept, rederived = (clipped(exact(x0), clip)(X, T_HALF) for clip in ("dynamic", "dynamic+eps"))
    assert (kept.x0 - expected).abs().max() <= 1e-12
    assert torch.equal(kept.x0[1], x0[1])
    assert torch.equal(kept.eps, exact(x0)(X, T_HALF).eps)
    assert torch.equal(rederived.x0, kept.x0)
    assert (marginal(SCHEDULE, rederived.x0, T_HALF, rederived.eps) - X).abs().max() <= 1e-12


def learned_range(t: float, s: float, v: torch.Tensor) -> torch.Tensor:
    """The variance that the network's v stands for, through a denoiser, clipping and `reverse_variance`."""
    network = Denoiser(lambda x, timestep, cond: torch.cat([x, v], dim=1), SCHEDULE, variance="learned-range")
    t_, s_ = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    prediction = clipped(network, "x0")(X, t_)
    return reverse_variance("learned", prediction, posterior(SCHEDULE, X, X, t_, s_)[1], SCHEDULE, t_, s_)


@pytest.mark.parametrize("n", [10, 50, 1000])
def test_learned_range_is_that_of_diffusers_on_the_step_that_is_taken(n: int) -> None:
    """Relative 1e-3 (diffusers' tables are float32). Catches beta_t of consecutive steps, v in [0, 1], swapped ends."""
    v = torch.linspace(-1, 1, X.numel(), dtype=torch.float64).reshape(X.shape)
    peer = DDPMScheduler(1000, variance_type="learned_range", timestep_spacing="leading")
    peer.set_timesteps(n)
    for i in (0, n // 2, n - 2):
        index = int(peer.timesteps[i])
        found = learned_range((index + 1) / 1000, (index + 1 - 1000 // n) / 1000, v)
        assert (found / peer._get_variance(index, v).double().exp() - 1).abs().max() <= 1e-3


def test_learned_range_runs_from_fixed_small_to_fixed_large() -> None:
    """Relative 1e-12 at v = -1 and 1; finite at s = 0. Catches log_var read as itself, and interpolated variances."""
    t, s = torch.tensor(0.4, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    low, high = posterior(SCHEDULE, X, X, t, s)[1], transition(SCHEDULE, s, t)[1]
    for v, expected in ((-1.0, low), (1.0, high), (0.0, (low * high).sqrt())):
        assert (learned_range(0.4, 0.3, torch.full_like(X, v)) / expected - 1).abs().max() <= 1e-12
    bars, betas = SCHEDULE.alphas_cumprod, SCHEDULE.betas
    clipped_log = betas[1] * (1 - bars[0]) / (1 - bars[1])  # the official code's replaced first entry
    assert (learned_range(0.001, 0.0, torch.full_like(X, -1.0)) / clipped_log - 1).abs().max() <= 1e-9


def test_the_gradient_of_v_is_finite_at_the_first_step() -> None:
    """At s = 0 fixed-small is 0. Catches its logarithm, whose gradient is not a number."""
    v = torch.zeros_like(X, requires_grad=True)
    learned_range(0.001, 0.0, v).log().sum().backward()
    assert v.grad is not None
    assert bool(v.grad.isfinite().all())


def test_a_denoiser_refuses_what_it_cannot_read() -> None:
    for name in ("flow", "jsd", "zero_terminal_snr"):
        with pytest.raises(InputError, match="'eps' says nothing about x0 at t = 1"):
            Denoiser(lambda x, timestep, cond: x, SCHEDULES.build(name))
    with pytest.raises(InputError, match="did you mean 'learned-range'"):
        Denoiser(lambda x, timestep, cond: x, SCHEDULE, variance="learned-rage")


@pytest.mark.parametrize("parameterization", ["x0", "v", "velocity"])
@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_other_parameterizations_are_read_at_both_ends_of_every_path(schedule: str, parameterization: str) -> None:
    """max-abs <= 1e-9, relative to sigma, at t = 1/T and 1. Catches division by alpha, and by 1 where alpha + sigma is not."""
    built = SCHEDULES.build(schedule)
    t = torch.tensor([0.001, 1.0], dtype=torch.float64)
    x0, eps = X, X.flip(0)
    x_t = marginal(built, x0, t, eps)
    denoiser = Denoiser(lambda x, timestep, cond: x, built, parameterization)
    output = denoiser.parameterization.output(Prediction(x0, eps), x_t, t, built)
    found = denoiser.parameterization.prediction(output, x_t, t, built)
    scale = built.sigma(t).clamp(min=1)[:, None, None, None]
    assert ((found.x0 - x0) / scale).abs().max() <= 1e-9
    assert (found.eps - eps).abs().max() <= 1e-9


def test_velocity_is_the_slope_of_the_straight_line() -> None:
    """max-abs <= 1e-12: x_t changes by (t - s) velocity. Catches the paper's sign, whose time runs the other way."""
    flow = SCHEDULES.build("flow")
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    said = Denoiser(lambda x, timestep, cond: x, flow, "velocity").parameterization
    slope = said.output(Prediction(X, X.flip(0)), X, t, flow)
    moved = marginal(flow, X, t, X.flip(0)) - marginal(flow, X, s, X.flip(0))
    assert (moved - 0.5 * slope).abs().max() <= 1e-12


# ---------------------------------------------------------------- by a classifier

MEAN, STD, SEEN, NOISE = 0.2, 0.5, 0.9, 0.4  # of x0, of a value seen through noise, and of that noise


def exact_classifier(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Logits whose second class has p(SEEN | x_t), of x0 + NOISE z for Gaussian data, one pixel an image: up to a factor."""
    t = (timestep.double() + 1) / SCHEDULE.T
    alpha, sigma = (part[:, None, None, None] for part in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    of_x_t = alpha**2 * STD**2 + sigma**2
    mean = MEAN + alpha * STD**2 / of_x_t * (x.double() - alpha * MEAN)
    variance = STD**2 * sigma**2 / of_x_t + NOISE**2
    log_p = (-0.5 * (SEEN - mean).square() / variance).flatten(1).sum(1) - 3
    return torch.stack([torch.log1p(-log_p.exp()), log_p], dim=1)


def by_classifier(weight: float = 1.0) -> ClassifierGuided:
    return ClassifierGuided(GaussianDenoiser(SCHEDULE, MEAN, STD), exact_classifier, weight)


def test_the_exact_classifier_makes_the_exact_posterior() -> None:
    """DDIM of the prior with the gradient of log p(y|x_t) ends where DDIM of N(x0 | y) does: max-abs 1e-5 over 100 steps.

    Catches: sigma squared for sigma, another sign, the gradient of a probability, and x0 left as it was.
    """
    precision = 1 / STD**2 + 1 / NOISE**2
    posterior_of = GaussianDenoiser(SCHEDULE, (MEAN / STD**2 + SEEN / NOISE**2) / precision, precision**-0.5)
    x_T = torch.randn(3, 1, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    times, sampler, labels = (
        SPACINGS.build("uniform")(SCHEDULE, 100),
        SAMPLERS.build("ddim", eta=0.0),
        torch.ones(3).long(),
    )
    guided_to = sample(by_classifier(), sampler, times, x_T, cond=labels)
    expected = sample(posterior_of, sampler, times, x_T)
    assert (guided_to - expected).abs().max() <= 1e-5
    assert (sample(by_classifier(0.0), sampler, times, x_T, cond=labels) - expected).abs().max() > 0.1


def test_ancestral_sampling_moves_its_mean_by_the_variance() -> None:
    """Algorithm 1, max-abs 1e-12, the last step too. Catches: algorithm 2 in its place, and a mean that is moved twice."""
    x, labels = torch.full((2, 1, 1, 1), 0.4, dtype=torch.float64), torch.ones(2).long()
    sampler, noise = SAMPLERS.build("ancestral", variance="fixed-large"), torch.zeros_like(x)
    gradient = by_classifier(2.0)(x, T_HALF, labels).gradient
    assert gradient is not None
    assert gradient.abs().min() > 0.1
    for end in (0.45, 0.0):
        s = torch.tensor(end, dtype=torch.float64)
        times = torch.stack([T_HALF, s])
        variance = transition(SCHEDULE, s, T_HALF)[1]
        plain, moved = (
            sample(denoise, sampler, times, x, lambda *_: noise, cond=labels)
            for denoise in (GaussianDenoiser(SCHEDULE, MEAN, STD), by_classifier(2.0))
        )
        assert (moved - plain - variance * gradient).abs().max() <= 1e-12


def test_x0_is_clipped_before_a_classifier_moves_it() -> None:
    """max-abs 1e-12, as in the official code. Catches: guidance that the clip takes back."""
    t, labels = torch.tensor(0.1, dtype=torch.float64), torch.ones(1).long()
    x, times = torch.full((1, 1, 1, 1), 1.6, dtype=torch.float64), torch.stack([t, torch.zeros_like(t)])
    prediction = by_classifier()(x, t, labels)
    assert float(prediction.x0) > 1
    assert prediction.gradient is not None
    moved = SCHEDULE.sigma(t) ** 2 / SCHEDULE.alpha(t) * prediction.gradient
    assert moved.abs() > 1e-3
    answer = sample(by_classifier(), SAMPLERS.build("ddim", eta=0.0), times, x, clip="x0", cond=labels)
    assert (answer - (1 + moved)).abs().max() <= 1e-12


@pytest.mark.parametrize("cond", [None, torch.zeros(2, 8)])
def test_a_classifier_needs_labels(cond: torch.Tensor | None) -> None:
    with pytest.raises(InputError, match="guidance by a classifier needs a label for every image"):
        by_classifier()(X[:, :1, :1, :1], T_HALF, cond)
    with pytest.raises(InputError, match="where alpha is 0"):
        ClassifierGuided(GaussianDenoiser(SCHEDULES.build("flow")), exact_classifier, 1.0)
