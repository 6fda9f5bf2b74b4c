"""How the paper samples: 250 respaced ancestral steps with the learned variance, guidance on 3 of 4 channels.

Both are written out again in numpy, from the facts of the official code, and compared through a DiT of random weights.
"""

from typing import Any

import numpy as np
import pytest
import torch

from replication.check.models import randomize
from replication.diffusion import Denoiser, sample
from replication.diffusion.guidance import Guided
from replication.noise import ImageNoise
from replication.registry import MODELS, SAMPLERS, SCHEDULES, SPACINGS

NULL = 10


def network() -> Any:
    made = MODELS.build("dit", depth=1, width=16, heads=2, patch=2, resolution=4, classes=NULL).eval()
    randomize(made, seed=1)
    return made.double()


def official_answer(made: Any, x: np.ndarray, index: int, labels: list[int], weight: float) -> np.ndarray:
    """The doubled batch as the official code splits it: eps of the first 3 channels is guided, all else is each half's own."""
    both = np.concatenate([x, x])
    with torch.no_grad():
        output = made(
            torch.tensor(both),
            torch.full((len(both),), float(index), dtype=torch.float64),
            torch.tensor(labels + [NULL] * len(x)),
        )
    guided, rest = output.numpy()[:, :3], output.numpy()[:, 3:]
    with_label, without = np.split(guided, 2)
    half = without + weight * (with_label - without)
    return np.concatenate([np.concatenate([half, half]), rest], axis=1)[: len(x)]


def official_chain(made: Any, x: np.ndarray, noise: ImageNoise, labels: list[int], weight: float, n: int) -> np.ndarray:
    """n ancestral steps on betas respaced from linear ones; the network gets the original indices."""
    bar = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    kept = [round(i * 999 / (n - 1)) for i in range(n)]
    new_bar = bar[kept]
    before = np.append(1.0, new_bar[:-1])
    beta = 1 - new_bar / before
    tilde = beta * (1 - before) / (1 - new_bar)
    log_tilde = np.log(np.append(tilde[1], tilde[1:]))
    for step, i in enumerate(reversed(range(n))):
        eps, v = np.split(official_answer(made, x, kept[i], labels, weight), 2, axis=1)
        x0 = x / np.sqrt(new_bar[i]) - np.sqrt(1 / new_bar[i] - 1) * eps
        mean = np.sqrt(before[i]) * beta[i] / (1 - new_bar[i]) * x0
        mean = mean + np.sqrt(1 - beta[i]) * (1 - before[i]) / (1 - new_bar[i]) * x
        share = (v + 1) / 2
        log_variance = share * np.log(beta[i]) + (1 - share) * log_tilde[i]
        drawn = noise(step, x.shape).double().numpy()
        x = mean + (i != 0) * np.exp(0.5 * log_variance) * drawn
    return x


@pytest.mark.parametrize(("n", "weight"), [(250, 1.0), (250, 1.5), (10, 4.0)])
def test_respaced_ancestral_sampling_is_the_papers(n: int, weight: float) -> None:
    """Relative to the largest value, max-abs <= 1e-6 in float64. Catches: the network given the new indices, betas of
    consecutive steps in the variance, all four channels guided, v guided or taken from the null half, noise on the last
    step, a clipped x0, and a spacing that misses 0 or 999.
    """
    made, labels, noise = network(), [3, 7], ImageNoise(0, torch.arange(2))
    schedule = SCHEDULES.build("linear")
    denoiser = Denoiser(made, schedule, variance="learned-range")
    around = Guided(denoiser, weight, torch.tensor(NULL), channels="dit") if weight != 1 else denoiser
    x_T = noise.prior((2, 4, 4, 4)).double()
    times = SPACINGS.build("iddpm")(schedule, n)
    answer = sample(
        around,
        SAMPLERS.build("ancestral", variance="learned"),
        times,
        x_T,
        noise,
        clip="none",
        cond=torch.tensor(labels),
    )
    expected = official_chain(made, x_T.numpy(), noise, labels, weight, n)
    assert np.isfinite(expected).all()
    assert np.abs(answer.numpy() - expected).max() <= 1e-6 * np.abs(expected).max()
