"""Everything that runs on a device runs on a pretended one: nothing is mixed, and no step of a loop waits for it."""

from collections import Counter
from typing import Any

import pytest
import torch
from pretended import CUDA, OnCuda, Pretended
from torch import Tensor

from replication.diffusion import Denoiser, sample
from replication.diffusion.denoiser import CLIPS
from replication.diffusion.guidance import Guided
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS

SHAPE = (2, 3, 4, 4)


class Pixelwise(torch.nn.Module):
    """[B,C,H,W] -> [B,C,H,W], or 2C; reads the time and, if there is one, the label."""

    def __init__(self, learned: bool):
        super().__init__()
        self.weight, self.learned = torch.nn.Parameter(torch.full((1,), 0.1)), learned

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.weight * x + 1e-3 * timestep[:, None, None, None]
        h = h if cond is None else h + 0.01 * cond[:, None, None, None]
        return torch.cat([h, 0.1 * h], dim=1) if self.learned else h


def waits(
    sampler: Any, steps: int, schedule: str = "linear", clip: str = "none", learned: bool = False, guided: bool = False
) -> Counter[str]:
    """What made the host wait in one sampling."""
    with Pretended() as device:
        network = Pixelwise(learned).to(CUDA)
        parts = SCHEDULES.build(schedule)
        v = "velocity" if parts.alpha(torch.ones(())) == 0 else "eps"
        denoiser: Any = Denoiser(network, parts, parameterization=v, variance="learned-range")
        noise, times = ImageNoise(0, torch.arange(2), CUDA), SPACINGS.build("uniform")(parts, steps)
        cond = torch.tensor([1, 2], device=CUDA) if guided else None
        if guided:
            denoiser = Guided(denoiser, 2.0, torch.tensor(0, device=CUDA), channels=2, interval=(0.2, 0.9))
        x_T = noise.prior(SHAPE)
        device.waits.clear()
        x = sample(denoiser, sampler, times, x_T, noise if sampler.stochastic else None, clip=clip, cond=cond)
        assert isinstance(x, OnCuda)
        assert bool(x.of.isfinite().all())
        return Counter(device.waits)


def nothing_per_step(*args: Any, **options: Any) -> None:
    few, many = waits(*args, 5, **options), waits(*args, 9, **options)
    assert many == few, f"4 more steps wait for the device {many - few}"


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("schedule", ["linear", "flow", "ve"])
def test_no_step_of_a_sampler_waits_for_the_device(name: str, schedule: str) -> None:
    """Catches a time that is copied to the device at each step, and a coefficient read back from it."""
    nothing_per_step(SAMPLERS.build(name), schedule=schedule)


@pytest.mark.parametrize(
    ("name", "options"),
    [("ddim", {"eta": 1.0}), ("heun", {"S_churn": 5.0}), ("ancestral", {"variance": "fixed-small"})],
)
def test_nor_one_with_noise(name: str, options: dict[str, Any]) -> None:
    """Catches noise that is drawn on the CPU."""
    nothing_per_step(SAMPLERS.build(name, **options))


def test_nor_one_with_a_learned_variance() -> None:
    """Catches an interpolation between numbers that lie on the CPU, which the device's kernel refuses."""
    nothing_per_step(SAMPLERS.build("ancestral", variance="learned"), learned=True)


@pytest.mark.parametrize("clip", CLIPS)
def test_nor_clipping(clip: str) -> None:
    nothing_per_step(SAMPLERS.build("ddim"), clip=clip)


def test_nor_guidance() -> None:
    """Catches where guidance is on, copied to the device."""
    nothing_per_step(SAMPLERS.build("ddim"), guided=True)


def test_a_pretended_device_refuses_what_a_real_one_does() -> None:
    with Pretended() as device:
        x = torch.ones(3, device="cuda")
        with pytest.raises(RuntimeError, match="tensors on"):
            x + torch.ones(3)
        with pytest.raises(RuntimeError, match="tensors on"):
            torch.lerp(torch.ones(()), torch.zeros(()), x)
        assert (x + torch.ones(())).device.type == "cuda"
        assert not device.waits
        assert float(x.sum()) == 3
        assert x.cpu().device.type == "cpu"
        assert sum(device.waits.values()) == 2
