"""Winograd's convolutions against plain ones in double precision."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from replication.check.models import randomize
from replication.ddpm.unet import ddpm_unet
from replication.layers import convolution
from replication.layers.convolution import Convolution, transformed_weights, transforms, winograd


def plain(x: Tensor, layer: Convolution) -> Tensor:
    assert layer.bias is not None
    return F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)


def apart(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def made(c_in: int, c_out: int, images: int, height: int, width: int) -> tuple[Convolution, Tensor]:
    torch.manual_seed(c_in + images)
    return Convolution(c_in, c_out).requires_grad_(False), torch.randn(images, c_in, height, width).contiguous(
        memory_format=torch.channels_last
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of what Winograd's convolutions were given since."""
    given: list[torch.Size] = []

    def noted(x: Tensor, *rest: Tensor) -> Tensor:
        given.append(x.shape)
        return winograd(x, *rest)

    monkeypatch.setattr(convolution, "winograd", noted)
    return given


def test_one_tile_by_the_definition() -> None:
    forth, kernel, back = (a.double() for a in transforms())
    x, w = torch.arange(36.0, dtype=torch.float64).reshape(6, 6), torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    expected = F.conv2d(x[None, None], w[None, None])[0, 0]
    found = back @ ((forth @ x.flatten()) * (kernel @ w.flatten()))
    assert torch.allclose(found.reshape(4, 4), expected, rtol=1e-5)


def test_equals_a_plain_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    for images, height, width, c_in, c_out in [(1, 4, 4, 128, 128), (3, 16, 8, 130, 128), (5, 12, 20, 128, 192)]:
        layer, x = made(c_in, c_out, images, height, width)
        for at_once in (1, 1 << 19, 1 << 21, 1 << 30):  # a row of tiles, several, several images, all
            monkeypatch.setattr(convolution, "AT_ONCE", at_once)
            found = winograd(x, transformed_weights(layer.weight), layer.bias)
            assert apart(found, plain(x, layer)) < 3e-6, (images, height, width, at_once)
            assert found.is_contiguous(memory_format=torch.channels_last)
    without = winograd(x, transformed_weights(layer.weight))
    assert apart(without, F.conv2d(x.double(), layer.weight.double(), padding=1)) < 3e-6


@torch.no_grad()
def test_is_taken_where_it_pays_and_nowhere_else(counted: list[torch.Size]) -> None:
    layer, x = made(128, 128, 2, 8, 8)
    expected = plain(x, layer)
    assert apart(layer(x), expected) < 3e-6
    assert counted == [x.shape]
    for channels, height, width in [(127, 8, 8), (128, 6, 8), (128, 8, 9)]:
        few, image = made(channels, 128, 1, height, width)
        assert torch.equal(few(image), F.conv2d(image, few.weight, few.bias, padding=1)), (channels, height, width)
    assert torch.equal(layer(x.contiguous()), F.conv2d(x.contiguous(), layer.weight, layer.bias, padding=1))
    assert layer(x[:0]).shape == (0, 128, 8, 8)
    layer.requires_grad_(True)  # a fused optimiser's steps would not be seen
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))
    layer.requires_grad_(False)
    with torch.enable_grad():
        assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert copy.deepcopy(layer).double()(x.double()).dtype == torch.float64
    assert layer.to("meta")(x.to("meta")).device.type == "meta"
    assert counted == [x.shape]


@torch.no_grad()
def test_kept_weights_follow_the_layer(counted: list[torch.Size]) -> None:
    layer, x = made(128, 128, 1, 4, 4)
    layer(x)
    other, _ = made(128, 128, 3, 4, 4)

    def in_place() -> None:
        layer.weight.mul_(-1.5)

    def loaded() -> None:
        layer.load_state_dict(other.state_dict())

    def assigned() -> None:
        layer.load_state_dict({name: tensor * 2 for name, tensor in other.state_dict().items()}, assign=True)

    def exchanged() -> None:
        layer.weight.data = torch.randn(128, 128, 3, 3)

    for change in (in_place, loaded, assigned, exchanged):
        change()
        assert apart(layer(x), plain(x, layer)) < 3e-6, change.__name__
        assert apart(copy.deepcopy(layer)(x), plain(x, layer)) < 3e-6, change.__name__
    assert len(counted) == 9
    assert layer.kept.of(layer.weight) is layer.kept.of(layer.weight)
    assert set(layer.state_dict()) == {"weight", "bias"}


@torch.no_grad()
def test_a_network_changes_by_rounding(counted: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    network = ddpm_unet(16, 1, width=32, multipliers=(1, 2), blocks=1, attention=(8,), groups=8)
    randomize(network.requires_grad_(False), 0)
    network.to(memory_format=torch.channels_last)
    x, timestep = torch.randn(3, 1, 16, 16).contiguous(memory_format=torch.channels_last), torch.full((3,), 500.0)
    expected = network(x, timestep)
    assert not counted
    monkeypatch.setattr(convolution, "MANY", 32)
    found = network(x, timestep)
    assert 1e-8 < apart(found, expected) < 1e-5
    assert {shape[-1] for shape in counted} == {8, 16}
    with torch.inference_mode():
        assert torch.equal(network(x, timestep), found)
