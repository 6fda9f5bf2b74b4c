"""How embedded extractors are trained: augmentation, whitening, the loop, and what is packed into the file."""

import dataclasses

import pytest
import torch
from safetensors.torch import load

from replication.metrics.extractors.embedded import CIFAR10ResNet, DigitsCNN
from replication.metrics.training import (
    CIFAR10,
    DIGITS,
    LEARNING_RATE,
    alternately_flipped,
    correct,
    nesterov,
    packed,
    shifted,
    train,
    whitened_resnet,
    whitening,
)
from replication.registry import DATASETS


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_shifts_reach_every_place_alike() -> None:
    """A dot in the middle lands on each of the nine neighbouring places about equally often; dots at the rim fall off.

    Catches: a shift of the whole batch together, wrapping around, a transposed offset that never moves one axis.
    """
    dot = torch.zeros(900, 1, 8, 8, dtype=torch.uint8)
    dot[:, :, 4, 4] = 255
    landed = (shifted(dot, 1, generator()) > 0).sum((0, 1))
    assert landed.sum() == 900
    assert landed[3:6, 3:6].min() > 60
    rim = torch.zeros(900, 1, 8, 8, dtype=torch.uint8)
    rim[:, :, 0, 0] = 255
    assert 350 < (shifted(rim, 1, generator()) > 0).sum() < 450


def test_reflecting_shifts_keep_channels_and_rim() -> None:
    """Columns 0..7 shifted by up to 2 with reflection read 2 1 0 1 2 .. at the left; the channels move together.
    Catches: black at the rim, the rim pixel doubled, channels shifted apart."""
    ramp = torch.arange(8.0).expand(200, 3, 8, 8) + 10 * torch.arange(3.0)[:, None, None]
    moved = shifted(ramp, 2, generator(), "reflect")
    assert (moved - moved[:, :1] == 10 * torch.arange(3.0)[:, None, None]).all()
    rows = {tuple(row) for row in moved[:, 0, 0].int().tolist()}
    assert rows == {
        (2, 1, 0, 1, 2, 3, 4, 5),
        (1, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 2, 3, 4, 5, 6, 7, 6),
        (2, 3, 4, 5, 6, 7, 6, 5),
    }


def test_mirroring_alternates() -> None:
    """Each image is mirrored in one of two epochs in a row, and a batch of consecutive images half and half. Catches:
    all mirrored together, an upside-down flip."""
    images = torch.arange(4 * 2 * 2, dtype=torch.uint8).reshape(4, 1, 2, 2)
    index = torch.tensor([5, 0, 3, 2])
    first, second = (alternately_flipped(images, index, epoch) for epoch in (0, 1))
    for i, odd in enumerate(index % 2 == 1):
        mirrored, plain = (first, second) if odd else (second, first)
        assert mirrored[i].equal(images[i].flip(2))
        assert plain[i].equal(images[i])


def test_whitening_decorrelates_patches() -> None:
    """The responses to the patches that it was made from have the identity as second moments, max-abs 0.02, and each
    filter has its negative. Catches: filters not divided by the standard deviation, eigenvectors read by column."""
    noise = torch.randn(500, 3, 8, 8, generator=generator())
    images = (40 * (noise + noise.roll(1, 3) + noise.mean(1, keepdim=True)) + 128).clamp(0, 255).to(torch.uint8)
    filters = whitening(images)
    assert filters.shape == (24, 3, 2, 2)
    assert filters[:12].equal(-filters[12:])
    out = torch.nn.functional.conv2d(images.float() / 127.5 - 1, filters[:12], stride=2)
    rows = out.permute(0, 2, 3, 1).reshape(-1, 12)
    assert (rows.T @ rows / len(rows) - torch.eye(12)).abs().max().item() < 0.02


def test_the_learning_rate_rises_and_falls() -> None:
    """A fifth at the start, whole after a fifth of the steps, 2 % at the end, biases of norms 64 times faster, max-abs
    1e-9. Catches: a schedule counted in epochs, a jump at the peak."""
    model = CIFAR10ResNet()
    sgd, decay = nesterov(model, 100)
    rates = []
    for _ in range(101):
        rates.append([group["lr"] for group in sgd.param_groups])
        sgd.step()
        decay.step()
    rate = LEARNING_RATE
    assert [rates[i][0] for i in (0, 20, 60, 100)] == pytest.approx(
        [0.2 * rate, rate, 0.51 * rate, 0.02 * rate], abs=1e-9
    )
    assert all(bias == pytest.approx(64 * weight) for weight, bias in rates)


def test_training_is_deterministic() -> None:
    """Two short trainings give the same bits, and they learn: the loss ends under 1.5 (chance is 2.3).

    Catches: a shuffle or an initialisation drawn from an unseeded generator.
    """
    split = DATASETS.build("digits").load("train")
    images, labels = split.images[:256], split.labels[:256]
    training = dataclasses.replace(DIGITS, epochs=8)
    first = train(training, images, labels)
    torch.rand(3)
    again = train(training, images, labels)
    assert all(a.equal(b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(first(images)[1], labels)
    assert loss.item() < 1.5


def test_the_residual_network_learns() -> None:
    """Two classes that differ in colour are learnt in 16 steps: 95 % right, from 50 %; the whitening stays. Catches: a
    frozen layer that trains, a training whose first steps diverge."""
    labels = torch.arange(80) % 2
    noise = torch.randint(60, (80, 3, 32, 32), generator=generator())
    images = (noise + 120 * torch.stack([labels, 0 * labels, 1 - labels], 1)[:, :, None, None]).to(torch.uint8)
    training = dataclasses.replace(CIFAR10, epochs=4, batch=20)
    model = train(training, images, labels)
    assert correct(model, images, labels) >= 76
    assert model.whiten.weight.equal(whitened_resnet(images).whiten.weight)


def test_packing_halves_floats_alone() -> None:
    """Weights come back as float16 of themselves, counters as they were. Catches: counters rounded to 2048 steps."""
    model = DigitsCNN()
    model.norms[0].num_batches_tracked.fill_(4097)
    back = load(packed(model, torch.float16))
    assert back["hidden.weight"].equal(model.hidden.weight.half())
    assert back["norms.0.num_batches_tracked"].item() == 4097
