"""Losses of the first stages: facts of the published ones, parity where there is a peer, and gradients that arrive."""

import math
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from replication.check.models import randomize
from replication.ldm.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from replication.ldm.losses.distances import PIXEL, unit_difference
from replication.ldm.losses.lpips import CHANNELS, VGG
from replication.metrics import Material, evaluate
from replication.registry import DATASETS, DISCRIMINATORS, EXTRACTORS, PERCEPTUAL
from replication.types import InputError

EMBEDDED = {"features-digits-cnn": ("digits-cnn", 1, 8), "features-cifar10-resnet": ("cifar10-resnet", 3, 32)}


def images(*shape: int, seed: int = 2) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_pixel_losses_are_means_over_an_images_values() -> None:
    """Exact. Catches a sum, and a mean over the batch."""
    a, b = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    b[1] = 2
    assert PIXEL["l1"](a, b).tolist() == [0, 2]
    assert PIXEL["l2"](a, b).tolist() == [0, 4]


def test_hinge_losses() -> None:
    """Exact. Catches swapped signs, a missing half, and a loss that goes on beyond the margin."""
    real, fake = torch.tensor([0.0, 3.0]), torch.tensor([0.0, -5.0])
    assert discriminator_loss(real, fake).item() == 0.5 * (0.5 + 0.5)
    assert discriminator_loss(torch.zeros(2), torch.zeros(2)).item() == 1
    assert discriminator_loss(fake, real).item() == 0.5 * ((1 + 6) / 2 + (1 + 4) / 2)
    assert generator_loss(fake).item() == 2.5


def test_the_adaptive_weight_is_the_ratio_of_gradient_norms_within_its_limits() -> None:
    """max-abs 1e-5 relative. Catches the inverse, squared norms, a missing limit, and a weight with a gradient."""
    last = torch.tensor([1.0, 2.0], requires_grad=True)
    reconstruction, generator = (last * torch.tensor([3.0, 4.0])).sum(), (last * torch.tensor([0.0, 0.5])).sum()
    weight = adaptive_weight(reconstruction, generator, last)
    assert abs(weight.item() / (5 / (0.5 + 1e-4)) - 1) <= 1e-5
    assert not weight.requires_grad
    assert adaptive_weight(reconstruction, 0 * generator, last).item() == 1e4
    assert adaptive_weight(reconstruction, generator, last, limit=2.0).item() == 2
    assert last.grad is None


def test_patchgan_is_pix2pixs() -> None:
    """Exact count (2,768,705 with pix2pix's six channels), 30x30 patches of 256 pixels, standard deviations within 3 %.

    Catches biases beside BatchNorm, a width beyond 8 times, a stride in the last hidden layer, PyTorch's initialisation.
    """
    torch.manual_seed(0)
    made = DISCRIMINATORS.build("patchgan")
    assert sum(p.numel() for p in made.parameters()) == 2_765_633
    with torch.device("meta"):
        six = DISCRIMINATORS.build("patchgan", image_channels=6)
        assert sum(p.numel() for p in six.parameters()) == 2_768_705
        assert six(torch.empty(1, 6, 256, 256)).shape == (1, 1, 30, 30)
        assert DISCRIMINATORS.build("patchgan", image_channels=1, layers=1)(torch.empty(1, 1, 8, 8)).shape[2:] == (2, 2)
    wide = [m for m in made.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 1e5]
    assert len(wide) == 3
    assert all(abs(m.weight.std().item() / 0.02 - 1) < 0.03 for m in wide)
    assert {m.negative_slope for m in made.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    with pytest.raises(InputError, match="layers = 0"):
        DISCRIMINATORS.build("patchgan", layers=0)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_features_see_differences_and_pass_gradients(name: str) -> None:
    """Catches features cut off by no_grad or uint8, images given in [-1, 1], and a batch whose images mix."""
    extractor, channels, side = EMBEDDED[name]
    distance = PERCEPTUAL.build(name).train()
    distance.check(channels, side)
    a, b = images(3, channels, side, side), images(3, channels, side, side, seed=3)
    b[1] = a[1]
    b.requires_grad_()
    answer = distance(a, b)
    answer.sum().backward()
    assert answer.shape == (3,)
    assert answer[1] == 0
    assert bool((answer[[0, 2]] > 0.1).all())
    assert (answer[:1] - distance(a[:1], b[:1])).abs() <= 1e-5
    assert b.grad is not None
    assert bool((b.grad[[0, 2]].abs().amax((1, 2, 3)) > 0).all())
    assert not any(p.requires_grad for p in distance.parameters())
    expected = EXTRACTORS.build(extractor).network((a + 1) * 127.5)[0]
    assert (distance.network((a + 1) * 127.5)[0] - expected).abs().max() <= 1e-6  # still evaluation mode
    with pytest.raises(InputError, match=rf"{name}.*not 16x16 and {channels}"):
        distance.check(channels, 16)


def test_embedded_features_rank_a_blur_below_another_digit() -> None:
    """Catches a distance of constants: the classifier must see the digits as digits."""
    digits = DATASETS.build("digits").load("test").images[:64].float() / 127.5 - 1
    blurred = nn.functional.avg_pool2d(digits, 3, stride=1, padding=1)
    distance = PERCEPTUAL.build("features-digits-cnn")
    near, far = distance(digits, 0.7 * digits + 0.3 * blurred).mean(), distance(digits, digits.roll(1, 0)).mean()
    assert near < far / 3


def test_the_unit_difference_has_a_gradient_where_every_channel_is_zero() -> None:
    """Exact: 0. Catches the NaN of a square root at zero, which a ReLU makes likely."""
    a, b = torch.zeros(1, 4, 2, 2, requires_grad=True), torch.zeros(1, 4, 2, 2)
    unit_difference(a, b).sum().backward()
    assert a.grad is not None
    assert not a.grad.any()


def test_no_perceptual_distance_is_zero() -> None:
    assert PERCEPTUAL.build("none")(images(2, 1, 8, 8), images(2, 1, 8, 8, seed=3)).tolist() == [0, 0]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, dict[str, Tensor]]:
    """Files of LPIPS's form with random weights, where the environment variable says."""
    from torchvision.models import vgg16

    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", lambda *_, **__: None)  # slow, and drawn anew below
    with torch.device("meta"):
        features = vgg16().features
    features = features.to_empty(device="cpu")
    randomize(features, seed=1)
    channels = {
        f"lin{i}.model.1.weight": images(1, c, 1, 1, seed=i).abs() for i, c in enumerate((64, 128, 256, 512, 512))
    }
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, tmp_path / VGG.filename)
    torch.save(channels, tmp_path / CHANNELS.filename)
    monkeypatch.setenv("REPLICATION_LPIPS_WEIGHTS", str(tmp_path))
    return features, channels


def test_lpips_agrees_with_torch_fidelity_with_the_same_weights(
    weights: tuple[nn.Module, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """max-abs 1e-5 on values of order 0.1. Catches another tap, a normalisation for [0, 1], a ReLU that works in place."""
    import torch_fidelity.sample_similarity_lpips as peer

    monkeypatch.setattr(
        peer, "torchvision_load_pretrained_vgg16", lambda **_: types.SimpleNamespace(features=weights[0])
    )
    monkeypatch.setattr(peer, "load_state_dict_from_url", lambda *_, **__: weights[1])
    a, b = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=3).requires_grad_()
    distance: Any = PERCEPTUAL.build("lpips-vgg16")
    distance.check(3, 32)
    answer = distance(a, b)
    expected = peer.SampleSimilarityLPIPS("lpips")((a + 1) * 127.5, (b.detach() + 1) * 127.5).flatten()
    assert expected.min() > 0.01
    assert (answer - expected).abs().max() <= 1e-5
    answer.sum().backward()
    assert b.grad is not None
    assert bool(b.grad.isfinite().all() and b.grad.any())


def test_lpips_without_its_files_names_the_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a silent download, and a message that leaves one at a loss."""
    monkeypatch.setenv("REPLICATION_LPIPS_WEIGHTS", str(tmp_path))
    with pytest.raises(
        InputError, match=r"vgg16-397923af\.pth is not there.*REPLICATION_LPIPS_WEIGHTS.*features-cifar10"
    ):
        PERCEPTUAL.build("lpips-vgg16").ensure()
    (tmp_path / VGG.filename).write_bytes(b"no weights")
    (tmp_path / CHANNELS.filename).write_bytes(b"no weights")
    distance = PERCEPTUAL.build("lpips-vgg16")
    with pytest.raises(InputError, match=r"cannot read .*vgg16-397923af\.pth"):
        distance(images(1, 3, 32, 32), images(1, 3, 32, 32))
    with pytest.raises(InputError, match="colour images from 16 pixels on, not 8x8 with 1 channels"):
        distance.check(1, 8)


def test_codebook_usage() -> None:
    """max-abs 1e-12. Catches a share of positions instead of codes, and an entropy in bits."""

    def usage(*counts: int) -> tuple[float, float]:
        found = evaluate(Material(codes=torch.tensor(counts))).columns
        return found["codebook_usage"], found["codebook_perplexity"]

    assert usage(5, 5, 5, 5) == pytest.approx((1.0, 4.0), abs=1e-12)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert usage(3, 0, 1, 0) == pytest.approx((0.5, math.exp(entropy)), abs=1e-12)
    assert usage(0, 0, 0, 0) == (0.0, 1.0)
