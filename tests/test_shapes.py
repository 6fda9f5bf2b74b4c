"""Runs on the meta device with remembered shapes come to what they come to without."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from replication.cost import counted
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.sampling import sample
from replication.noise import ImageNoise
from replication.registry import AUTOENCODERS, MODELS, SAMPLERS, SCHEDULES, SPACINGS
from replication.shapes import Shapes

SHAPE = (2, 3, 32, 32)


def network(name: str) -> Callable[[], Tensor]:
    with torch.device("meta"):
        built = MODELS.build(name).train()
        shape = (2, built.in_channels, built.resolution, built.resolution)
        labels = torch.zeros(2, dtype=torch.int64) if built.classes else None
    return lambda: built(torch.empty(*shape, device="meta"), torch.empty(2, device="meta"), labels)


def autoencoder() -> Tensor:
    with torch.device("meta"):
        x = torch.empty(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
        built = AUTOENCODERS.build("kl-f8", width=32).to(memory_format=torch.channels_last)
        return built.decode(built.moments(x)[:, : built.latent_channels])


def sampler(name: str) -> Tensor:
    schedule = SCHEDULES.build("linear")
    times = SPACINGS.build("uniform")(schedule, 4)
    noise = ImageNoise(0, torch.arange(2), "meta")
    denoiser = Denoiser(lambda x, *_: x, schedule, "eps")
    return sample(denoiser, SAMPLERS.build(name), times, torch.empty(SHAPE, device="meta"), noise, "x0")


RUNS = {
    "unet": network("ddpm-cifar10"),
    "dit": network("dit-s/2"),
    "autoencoder": autoencoder,
    "ancestral": lambda: sampler("ancestral"),
    "dpmpp_2m": lambda: sampler("dpmpp_2m"),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_counts_and_answers_are_the_same(run: Callable[[], Tensor]) -> None:
    """Exact, the first time and when all is known: work, most memory at a time, shape, strides and dtype of the answer.

    Catches: calls that differ in an argument and are taken for one another, and an answer that lost its layout.
    """

    def found() -> tuple[object, ...]:
        answers: list[Tensor] = []
        counter = counted(lambda: answers.append(run()))
        return counter.work, counter.peak, answers[0].shape, answers[0].stride(), answers[0].dtype

    plain = found()
    with Shapes():
        assert [found(), found()] == [plain] * 2


def test_calls_are_told_apart() -> None:
    """Catches 1, 1.0 and True taken for one number, and a number on the CPU taken for its value's like."""
    with Shapes():
        for _ in range(2):
            x = torch.ones(3, dtype=torch.int64, device="meta")
            assert [(x * one).dtype for one in (2, 2.0, True)] == [torch.int64, torch.float32, torch.int64]
            assert (x.float() * torch.tensor(2.0, dtype=torch.float64)).dtype == torch.float32
            assert torch.cat([x, x[:1]]).shape == (4,)
            assert torch.cat([x, x]).shape == (6,)
            assert [part.shape[0] for part in x.split([1, 2])] == [1, 2]


def test_what_is_on_a_device_is_computed() -> None:
    """Catches an answer of numbers that is a remembered form."""
    with Shapes():
        for number in (1.0, 2.0):
            x = torch.tensor(number)
            assert float(x * 2) == 2 * number
            assert torch.equal(torch.full((2,), number) + x, torch.full((2,), 2 * number))
            assert int(x.add_(1)) == number + 1


def test_what_is_wrong_is_wrong_each_time() -> None:
    with Shapes():
        for _ in range(2):
            with pytest.raises(RuntimeError, match="reduction dim"):
                torch.empty(2, 3, device="meta") @ torch.empty(2, 3, device="meta")
