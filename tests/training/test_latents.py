"""Latents as training data: cached once by content, read from a memory map, and drawn anew at every use."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from replication.datasets.dataset import Split
from replication.deadline import Deadline, OutOfTime
from replication.ldm.autoencoder import Autoencoder
from replication.registry import AUTOENCODERS
from replication.training import data
from replication.training.data import Latents, Pixels, cached_moments

CPU = torch.device("cpu")


@pytest.fixture
def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return AUTOENCODERS.build(
        "kl-f2", image_channels=1, width=8, blocks=1, groups=4, latent_channels=2, scaling="none"
    ).eval()


def images(n: int = 5) -> Tensor:
    return torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def cached(folder: Path, autoencoder: Autoencoder, **changes: object) -> Tensor:
    arguments = {"fingerprint": "f", "encoder": "w", "folder": folder, "mirrored": False, "device": CPU, **changes}
    split = Split(images(), torch.zeros(5, dtype=torch.int64), str(arguments.pop("fingerprint")))
    return cached_moments(split, autoencoder, progress=False, **arguments)  # type: ignore[arg-type]


def test_the_cache_holds_the_moments_and_is_a_memory_map(tmp_path: Path, autoencoder: Autoencoder) -> None:
    """max-abs 1e-6. Catches latents in place of moments, uint8 not brought to [-1, 1], and a cache that is read whole."""
    found = cached(tmp_path, autoencoder)
    with torch.no_grad():
        expected = autoencoder.moments(images().float() / 127.5 - 1)
    assert found.shape == (5, 4, 4, 4)
    assert (found - expected).abs().max() <= 1e-6
    assert str(next(tmp_path.glob("*.safetensors"))) in Path("/proc/self/maps").read_text()
    with torch.no_grad():
        found += 1  # copy on write: the file keeps what was computed
    assert (cached(tmp_path, autoencoder) - expected).abs().max() <= 1e-6


def test_images_that_cannot_be_encoded_in_time(
    tmp_path: Path, autoencoder: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the pace of the first four. Catches an encoding that begins however little time is left, and half of a file."""
    monkeypatch.setattr(data, "ENCODED", 2)
    with pytest.raises(OutOfTime, match="encoding 5 images: it takes about"):
        cached(tmp_path, autoencoder, deadline=Deadline.within(0.0))
    assert not list(tmp_path.glob("*.safetensors*"))
    assert len(cached(tmp_path, autoencoder, deadline=Deadline.within(600.0))) == 5


def test_mirrored_moments_follow_and_are_those_of_mirrored_images(tmp_path: Path, autoencoder: Autoencoder) -> None:
    """max-abs 1e-6. Catches mirrored latents, which are not the latents of mirrored images, and another order."""
    found = cached(tmp_path, autoencoder, mirrored=True)
    with torch.no_grad():
        expected = autoencoder.moments((images().float() / 127.5 - 1).flip(-1))
    assert (found[5:] - expected).abs().max() <= 1e-6
    assert (found[5:] - found[:5].flip(-1)).abs().max() > 1e-3


def test_the_key_is_the_content(tmp_path: Path, autoencoder: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed once for equal content, anew for other images, weights or mirroring."""
    cached(tmp_path, autoencoder)
    calls: list[int] = []
    true = type(autoencoder).moments

    def counting(self: Autoencoder, x: Tensor) -> Tensor:
        calls.append(len(x))
        return true(self, x)

    monkeypatch.setattr(type(autoencoder), "moments", counting)
    cached(tmp_path, autoencoder)
    assert sum(calls) <= 1  # one image tells the shape
    for change in ({"fingerprint": "g"}, {"encoder": "v"}, {"mirrored": True}):
        before = sum(calls)
        cached(tmp_path, autoencoder, **change)
        assert sum(calls) >= before + 5
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-4],
        lambda content: content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
        lambda content: content.replace(b"moments", b"moment2"),
        lambda _: b"",
    ],
    ids=["cut off", "a flipped bit", "a changed header", "empty"],
)
def test_a_damaged_cache_is_set_aside_and_computed_again(
    tmp_path: Path,
    autoencoder: Autoencoder,
    damage: Callable[[bytes], bytes],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exact. Catches a checksum that nobody compares, and one that is not of every piece that was written."""
    monkeypatch.setattr(data, "ENCODED", 2)
    expected = cached(tmp_path, autoencoder).clone()
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert torch.equal(cached(tmp_path, autoencoder), expected)
    assert path.read_bytes() == content
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damage(content)
    assert "computed anew" in capsys.readouterr().err


def test_latents_are_drawn_anew_from_the_posterior(tmp_path: Path, autoencoder: Autoencoder) -> None:
    """Two draws differ by the posterior's noise around the same mode. Catches the mode, and one draw kept for ever."""
    moments = cached(tmp_path, autoencoder)
    data = Latents(moments, torch.zeros(5, dtype=torch.int64), CPU, autoencoder, "w")
    torch.manual_seed(0)
    first, second = (data.batch(torch.tensor([3, 1]), flip=False) for _ in range(2))
    assert not torch.equal(first, second)
    draws = torch.stack([data.batch(torch.tensor([3, 1]), flip=False) for _ in range(400)])
    mean, log_variance = moments[[3, 1]].chunk(2, dim=1)
    assert ((draws.mean(0) - mean) / (0.5 * log_variance).exp()).abs().max() <= 5 / 400**0.5
    torch.manual_seed(0)
    assert torch.equal(data.batch(torch.tensor([3, 1]), flip=False), first)


def test_a_flip_takes_the_mirror_images_moments(tmp_path: Path, autoencoder: Autoencoder) -> None:
    """About half of 400, within 5 standard errors. Catches a coin for the whole batch, and flips of latents."""
    moments = cached(tmp_path, autoencoder, mirrored=True).clone()
    moments[:, 2:] = -30.0  # next to no noise
    data = Latents(moments, torch.zeros(5, dtype=torch.int64), CPU, autoencoder, "w")
    torch.manual_seed(0)
    drawn = data.batch(torch.full((400,), 2), flip=True)
    plain, mirrored = ((drawn - moments[i, :2]).abs().amax((1, 2, 3)) < 1e-3 for i in (2, 7))
    assert bool((plain ^ mirrored).all())
    assert abs(int(mirrored.sum()) - 200) <= 50


def test_pixels_are_the_images() -> None:
    """Exact."""
    data = Pixels(images(), torch.arange(5), CPU)
    assert torch.equal(data.batch(torch.tensor([4, 0]), flip=False), images()[[4, 0]].float() / 127.5 - 1)
    assert len(data) == 5
