"""Inception-2015-12-05: random weights in torch-fidelity's format, and what happens where there are none."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from replication import files
from replication.metrics.extractors.convolutional import InceptionExtractor
from replication.registry import EXTRACTORS
from replication.types import InputError


def images(n: int, channels: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def test_features_are_torch_fidelitys(inception_weights: Path) -> None:
    """Values and logits of 7 images are those of torch-fidelity's own network for the layers that it uses itself
    for FID and IS, max-abs 1e-5 of values of order one: its batch norms are part of the convolutions here. Catches: feature layers swapped or biased logits taken,
    images rescaled before the network, batches in the wrong order, grey images padded with zero channels."""
    layers = [FeatureExtractorInceptionV3.get_default_feature_layer_for_metric(metric) for metric in ("fid", "isc")]
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", layers, feature_extractor_weights_path=inception_weights
    ).eval()
    extractor = EXTRACTORS.build("inception-v3-compat", weights=str(inception_weights))
    for channels, n in ((3, 7), (1, 2)):
        batch = images(n, channels)
        ours = extractor(batch, batch_size=4)
        with torch.no_grad():
            parts = [theirs(part.repeat(1, 3 // channels, 1, 1)) for part in batch.split(4)]
        values, logits = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        assert ours.values.shape == (n, 2048)
        assert ours.logits is not None
        assert ours.logits.shape == (n, 1008)
        assert values.std() > 0.1
        assert (ours.values - values).abs().max().item() < 1e-5
        assert (ours.logits - logits).abs().max().item() < 1e-5


def test_spatial_features_are_those_of_adm(inception_weights: Path) -> None:
    """The first 7 channels of what torch-fidelity's own third block of 17x17 after the reduction answers, which begins
    with its 1x1 branch: 17 * 17 * 7 = 2023 numbers, the channel fastest; max-abs 1e-5 of values of order one.

    Catches: Mixed_6e or 6c, the convolution before its normalisation, another seven channels, channels first.
    """
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=inception_weights
    )
    network.Mixed_6e = torch.nn.Identity()  # its input is the whole of what Mixed_6d says
    kept: list[torch.Tensor] = []
    network.Mixed_7a.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    batch = images(3, 3)
    with torch.no_grad():
        network.eval()(batch)
    expected = kept[0][:, :7].permute(0, 2, 3, 1).reshape(3, 2023)
    found = EXTRACTORS.build("inception-v3-compat", weights=str(inception_weights))(batch).spatial
    assert found is not None
    assert expected.std() > 0.1
    assert (found - expected).abs().max().item() < 1e-5


def test_other_weights_are_not_called_fid(inception_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the published file's hash earns the label FID. Catches: a fine-tuned or random network printed as FID."""
    extractor = EXTRACTORS.build("inception-v3-compat", weights=str(inception_weights))
    assert extractor.labels["fd"] == f"FD-inception-{extractor.sha256[:8]}"
    monkeypatch.setattr(InceptionExtractor, "remote", replace(InceptionExtractor.remote, sha256=extractor.sha256[:8]))
    assert extractor.labels["fd"] == "FID"


def test_weights_are_hashed_once_as_long_as_they_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look-up builds an extractor. Catches: a file read for each of them, and the hash of one that was replaced."""
    read, path = Mock(side_effect=files.file_sha256), tmp_path / "weights.pth"
    monkeypatch.setattr(files, "file_sha256", read)
    for content, times in ((b"one", 1), (b"another", 2)):
        path.write_bytes(content)
        hashes = {EXTRACTORS.build("inception-v3-compat", weights=str(path)).sha256 for _ in range(2)}
        assert hashes == {hashlib.sha256(content).hexdigest()}
        assert read.call_count == times


def test_environment_names_the_weights(inception_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is honoured and the option goes before it. Catches: the variable ignored or winning."""
    monkeypatch.setenv("REPLICATION_INCEPTION_WEIGHTS", str(inception_weights))
    EXTRACTORS.build("inception-v3-compat").ensure()
    with pytest.raises(InputError, match=r"/nowhere/else\.pth"):
        EXTRACTORS.build("inception-v3-compat", weights="/nowhere/else.pth").ensure()


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no network: one InputError with the address, the place and the variable; a heading is still to be
    had.

    Catches: a traceback of urllib, labels that need the weights.
    """

    monkeypatch.delenv("REPLICATION_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(
        InceptionExtractor, "remote", replace(InceptionExtractor.remote, url="http://127.0.0.1:9/a.pth")
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    extractor = EXTRACTORS.build("inception-v3-compat")
    with pytest.raises(InputError) as raised:
        extractor.ensure()
    for part in ("http://127.0.0.1:9/a.pth", str(tmp_path / "weights"), InceptionExtractor.variable, "digits-cnn"):
        assert part in str(raised.value)
    assert extractor.labels["fd"] == "FID"


def test_downloads_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download with another hash is refused and leaves nothing behind. Catches: the hash not passed on."""
    source = tmp_path / "served.pth"
    source.write_bytes(b"not the weights")
    monkeypatch.delenv("REPLICATION_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(InceptionExtractor, "remote", replace(InceptionExtractor.remote, url=source.as_uri()))
    with pytest.raises(InputError, match="is refused: got SHA-256"):
        EXTRACTORS.build("inception-v3-compat").ensure()
    assert [file.name for file in (tmp_path / "data" / "weights").iterdir()] == [".lock"]


def test_weights_that_torch_hub_has_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a second copy of what torch-fidelity downloaded."""
    monkeypatch.delenv("REPLICATION_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / InceptionExtractor.remote.filename).write_bytes(b"kept")
    extractor = EXTRACTORS.build("inception-v3-compat")
    extractor.ensure()
    assert extractor.path.read_bytes() == b"kept"


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["bomb", "truncated", "other"])
def test_weights_are_never_unpickled(inception_weights: Path, tmp_path: Path, content: str) -> None:
    """A pickle that would run code, a truncated file, tensors of another network: InputError naming the file, and
    the code has not run. Catches: the path handed to torch-fidelity, which unpickles it."""
    bad, trace = tmp_path / "bad.pth", tmp_path / "ran"
    if content == "bomb":
        bad.write_bytes(pickle.dumps(Bomb(trace), protocol=2))
    elif content == "truncated":
        bad.write_bytes(inception_weights.read_bytes()[:100_000])
    else:
        torch.save({"fc.weight": torch.zeros(3)}, bad)
    with pytest.raises(InputError, match=rf"{bad} does not hold its weights"):
        EXTRACTORS.build("inception-v3-compat", weights=str(bad))(images(1, 3))
    assert not trace.exists()


def test_the_weights_are_where_torch_fidelity_has_them() -> None:
    assert InceptionExtractor.remote.url == URL_INCEPTION_V3
