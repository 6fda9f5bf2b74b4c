"""What each version stands for: figures of fixed inputs, in golden.json under the names and versions that made them.

A figure that changes under the same version fails here, before rows that were made by two codes can stand beside each other
as one version's. Run as a script, this file adds the figures of versions that have none yet; it never changes one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from replication import pixels
from replication.conditions.condition import labels_of
from replication.diffusion import guidance, sampling
from replication.diffusion.denoiser import CLIPS, Denoiser
from replication.diffusion.guidance import Guided
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.sampling import sample
from replication.diffusion.schedule import NoiseSchedule
from replication.metrics import adm_manifold, timing, uncertainty
from replication.metrics.features import Features
from replication.metrics.metric import Material, Metric, metrics
from replication.noise import ImageNoise
from replication.registry import SCHEDULES

GOLDEN = Path(__file__).with_name("golden.json")
ENDS = ("_low", "_high", "_se")
RAISE = "figures of fixed inputs changed: raise the version of"


# ---------------------------------------------------------------- metrics and their intervals


def drawn(seed: int, *shape: int) -> Tensor:
    """Standard normal float32, by a generator whose numbers NumPy promises never to change."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def features(seed: int, n: int, metric: Metric, shift: float = 0.0) -> Features:
    return Features(drawn(seed, n, 4) + shift, drawn(seed + 1, n, 5), drawn(seed + 2, n, 3), extractor=metric.extractor)


def of_samples(metric: Metric) -> Material:
    """Two seeds of 60 images against 80 real ones, with all that a row may have beside them."""
    real = features(0, 80, metric)
    return Material(
        [features(10, 60, metric, 0.3), features(20, 60, metric, 0.5)],
        real,
        training=real,
        held_out=features(30, 50, metric),
        logits=drawn(40, 120, 5),
        prompted=torch.arange(120) % 5,
        bits=drawn(41, 30).double().square(),
        image_embeddings=[drawn(42, 60, 6) + 1, drawn(43, 60, 6) + 1],
        prompt_embeddings=[drawn(44, 60, 6) + 1, drawn(45, 60, 6) + 1],
        apart=[drawn(46, 60).double().abs(), drawn(47, 60).double().abs()],
        resamples=20,
    )


def of_reconstructions(metric: Metric) -> Material:
    """12 images of a first stage and what it makes of them."""
    originals = (drawn(50, 12, 3, 16, 16) * 40 + 128).clamp(0, 255)
    near = (originals + 9 * drawn(51, 12, 3, 16, 16)).clamp(0, 255)
    return Material(
        originals=originals.to(torch.uint8),
        reconstructions=near.to(torch.uint8),
        codes=torch.tensor([5, 0, 3, 9, 0, 1]),
    )


def figures_of(metric: Metric) -> dict[str, float]:
    """Every column of the metric; InputError or an empty answer fails the test."""
    for material in (of_samples(metric), of_reconstructions(metric)):
        needed = [getattr(material, need) for need in metric.needs]
        if all(part is not None for part in needed):
            return metric.compute(material, *needed).columns
    raise AssertionError(f"{metric.name} needs {metric.needs}, which no material of this test has")


def measured(metric: Metric) -> dict[str, Any]:
    """Its figures by its version, and the ends of a resampled interval by that of intervals beside it."""
    found, own = figures_of(metric), f"{metric.name} {metric.version}"
    ends = {name: value for name, value in found.items() if metric.interval == "resampled" and name.endswith(ENDS)}
    rest = {name: value for name, value in found.items() if name not in ends}
    of_interval = {f"{own}, interval {uncertainty.VERSION}": ends} if ends else {}
    return {own: rest | {"reference_images": metric.reference_images or 0}, **of_interval}


# ---------------------------------------------------------------- what draws images


class Halfway(Sampler):
    """A stochastic rule that uses x0, eps and the noise."""

    order, stochastic, evals_per_step = 1, True, 1

    def step(
        self,
        denoise: DenoiseAt,
        schedule: NoiseSchedule,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor | None,
        state: Any,
    ) -> tuple[Tensor, Any]:
        assert noise is not None
        found = denoise(x_t, t)
        return schedule.alpha(s) * found.x0 + schedule.sigma(s) * (0.8 * found.eps + 0.6 * noise), state


def network(x: Tensor, timestep: Tensor, cond: Tensor | None) -> Tensor:
    """Some eps: its x0 leaves [-1, 1] at most times, so that clipping shows."""
    shown = 0.0 if cond is None else cond[:, None, None, None]
    return (x + 0.1 * timestep[:, None, None, None] + shown).sin() / 2


DENOISER = Denoiser(network, SCHEDULES.build("linear", T=20, beta_end=0.3))


def loop() -> dict[str, Any]:
    """Images under each clip, noise and labels: all that a chunk's images hang on beside sampler and spacing."""
    noise, times = ImageNoise(3, torch.tensor([0, 7])), torch.tensor([1.0, 0.7, 0.4, 0.1, 0.0])
    prior = noise.prior((2, 1, 2, 3))
    images = {clip: sample(DENOISER, Halfway(), times, prior, noise, clip) for clip in CLIPS}
    policies = {policy: labels_of(policy, 3, 15, 20, 10, 5) for policy in ("random", "uniform", "balanced")}
    return {f"clip {clip}": flat(x) for clip, x in images.items()} | {p: flat(of) for p, of in policies.items()}


def guided() -> dict[str, Any]:
    """x0 and eps with all channels and DiT's, and with an interval that holds one of three times."""
    x, t, cond = drawn(60, 3, 4, 1, 2).double(), torch.tensor([0.1, 0.5, 0.9]).double(), torch.tensor([1.0, 2.0, 3.0])
    found = {}
    for name, options in {"all": {}, "dit": {"channels": "dit"}, "interval": {"interval": (0.2, 0.6)}}.items():
        answer = Guided(DENOISER, 3.0, torch.tensor(0.5), **options)(x, t, cond)  # type: ignore[arg-type]
        found |= {f"{name} x0": flat(answer.x0), f"{name} eps": flat(answer.eps)}
    return found


def quantized() -> dict[str, Any]:
    levels = torch.linspace(-1.1, 1.1, 56)
    return {name: flat(pixels.quantize(levels, name)) for name in pixels.QUANTIZERS}


def medians() -> dict[str, Any]:
    return {str(n): list(timing.median_interval([float(i * i) for i in range(n)])) for n in (1, 5, 6, 18, 40)}


def flat(values: Tensor) -> list[float]:
    found: list[float] = values.flatten().tolist()
    return found


def produced() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each name with its version, and the figures that today's code gives."""
    yield f"sampling {sampling.VERSION}", loop()
    yield f"guidance {guidance.VERSION}", guided()
    yield f"quantizer {pixels.VERSION}", quantized()
    yield f"timing {timing.VERSION}", medians()
    for metric in metrics():
        yield from measured(metric).items()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADM's 10,000 real images, whose distances take seconds, are 70 here; their number is one of the figures."""
    monkeypatch.setattr(adm_manifold, "IMAGES", 70)


def test_a_version_stands_for_its_figures() -> None:
    """Max 1e-6 relative. Catches a metric, an interval, a rule for times, a loop, a clip, noise, labels, guidance or a
    quantizer that computes something else under the same version, and one whose figures were never kept."""
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    today = dict(produced())
    assert today.keys() <= kept.keys(), f"no figures of {sorted(today.keys() - kept.keys())}: run this file as a script"
    for name, figures in today.items():
        assert figures.keys() == kept[name].keys(), f"{RAISE} {name}"
        for figure, value in figures.items():
            assert value == pytest.approx(kept[name][figure], rel=1e-6, abs=1e-7), f"{RAISE} {name} ({figure})"


def test_every_metric_of_the_suite_gives_a_figure() -> None:
    """Catches one that has nothing to say of these inputs, so that any change of it would pass."""
    for metric in metrics():
        assert metric.name in figures_of(metric), metric.name


if __name__ == "__main__":
    adm_manifold.IMAGES = 70
    before = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    GOLDEN.write_text(json.dumps(dict(produced()) | before, indent=1) + "\n", encoding="utf-8")
