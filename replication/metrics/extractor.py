"""Feature extractors: a name, a version, the weights' hash, labels, and extraction in a stream.

Weights come in one of two ways. `EmbeddedExtractor`: a small classifier whose weights are part of the package.
`PublishedExtractor`: weights that others publish, given by path, found in torch hub's folder, or downloaded.
"""

import hashlib
import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from replication.download import Remote, fetch, weights_path
from replication.files import expanded, known_sha256
from replication.metrics.features import PARTS, Features
from replication.metrics.metric import metrics
from replication.numerics import float32_as
from replication.progress import Bar
from replication.types import InputError

FOLDER = Path(__file__).parent / "weights"  # <name>.safetensors, and <name>.md: the card


def metric_labels(suffix: str | None) -> dict[str, str]:
    """Printed name of each metric: plain (FID) for Inception-2015-12-05, else with the extractor's name (FD-digits)."""
    labels = {metric.name: metric.label for metric in metrics()}
    for metric in metrics():
        if suffix is not None and metric.of_features:
            distance = "FID" in metric.label
            labels[metric.name] = (
                metric.label.replace("FID", f"FD-{suffix}") if distance else f"{metric.label}-{suffix}"
            )
    return labels


class Extractor(ABC):
    """uint8 images [N,C,H,W] -> Features."""

    name: str
    family: str  # what its distances are called: FD-<family>
    version = "1"
    layers: tuple[str, ...] = PARTS  # the network's names of the values, the logits and the spatial layer, or the first
    foreign_weights = ""  # the hash of weights that are not those the name stands for
    # of an image: what its features take (cost.py counts it of embedded ones), and how many they are
    multiply_adds, width = 0.0, 0
    classifies: str | None = None  # the dataset whose classes, in its order, the logits are of

    @property
    @abstractmethod
    def sha256(self) -> str:
        """SHA-256 of the weights file, hexadecimal; raises InputError where there is none."""

    @abstractmethod
    def _load(self) -> nn.Module:
        """The network with its weights: images as `prepare` makes them -> a tuple of tensors [B,*], one for each layer."""

    @property
    def labels(self) -> dict[str, str]:
        """Printed name of each metric key; never raises, so that a table of unrun cells can be headed."""
        return metric_labels(self.family)

    @property
    def present(self) -> bool:
        """Whether the weights are on this machine, without fetching them."""
        return True

    def ensure(self) -> None:  # noqa: B027
        """Make sure, cheaply, that the weights are at hand; the InputError states how to get them."""

    def prepare(self, images: Tensor) -> Tensor:
        """Bring uint8 [B,C,H,W] to the channels that the network takes; raises InputError for other shapes."""
        return images

    @cached_property
    def network(self) -> Any:
        """The network in evaluation mode, loaded at first use."""
        return self._load().requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(
        self,
        images: Tensor | Iterable[Tensor],
        batch_size: int = 256,
        device: str | torch.device = "cpu",
        progress: bool = False,
        total: int = 0,
    ) -> Features:
        """Features of uint8 images [N,C,H,W], or of a stream of such chunks; the result lies on the CPU.

        `total`: number of images in the stream, which a tensor has by itself. The memory needed is that of the features
        and of one batch. Raises InputError for images that are not uint8, of an unexpected shape, absent, or more or
        fewer than `total`.
        """
        chunks, total = ([images], len(images)) if isinstance(images, Tensor) else (images, total)
        network = self.network.to(device)
        parts: list[Tensor] = []
        done = n = 0
        with Bar(total, f"features {self.name}", "img", enabled=progress) as shown:
            for chunk in chunks:
                if chunk.dtype != torch.uint8 or chunk.ndim != 4:
                    found = f"{chunk.dtype} {list(chunk.shape)}"
                    raise InputError(f"extractor {self.name!r} takes uint8 images [N,C,H,W], got {found}")
                n += len(chunk)
                if n > total:
                    break
                for batch in chunk.split(batch_size):
                    with float32_as("float32"):  # the metric's own precision, whatever the samples' was
                        layers = network(self.prepare(batch.to(device)))
                    parts = parts or [torch.empty(total, rows.shape[1]) for rows in layers]
                    for part, rows in zip(parts, layers, strict=True):
                        part[done : done + len(batch)] = rows
                    done += len(batch)
                    shown.update(len(batch))
        if n == 0:
            raise InputError(f"extractor {self.name!r} was given no images")
        if n != total:
            given = f"{n} or more" if n > total else n
            raise InputError(f"extractor {self.name!r} expects {total} images and was given {given}")
        return Features(**dict(zip(PARTS, parts, strict=False)), extractor=self.name)


class EmbeddedExtractor(Extractor):
    """Of images of one shape; a subclass pins the SHA-256 of weights/<name>.safetensors, and no other file is used."""

    classifier: Callable[[], nn.Module]  # uint8 [B,C,H,W] -> the layers, in their order; untrained
    shape: tuple[int, int, int]  # C, H, W

    @property
    def path(self) -> Path:
        """The weights file; the card lies beside it."""
        return FOLDER / f"{self.name}.safetensors"

    def ensure(self) -> None:
        self._content()

    def prepare(self, images: Tensor) -> Tensor:
        if images.shape[1:] != torch.Size(self.shape):
            expected = ",".join(map(str, self.shape))
            raise InputError(f"extractor {self.name!r} takes images [N,{expected}], got {list(images.shape)}")
        return images

    def _load(self) -> nn.Module:
        network = self.classifier()
        network.load_state_dict(load(self._content()))
        return network

    def _content(self) -> bytes:
        """Of the weights file; raises InputError where it is absent or not the one whose SHA-256 is pinned."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            reason = f"cannot read {self.path}: {error.strerror}"
            raise InputError(f"extractor {self.name!r}: {reason}; reinstall") from error
        if (found := hashlib.sha256(content).hexdigest()) != self.sha256:
            reason = f"{self.path} has SHA-256 {found}, expected {self.sha256}"
            raise InputError(f"extractor {self.name!r}: {reason}; reinstall")
        return content


class PublishedExtractor(Extractor):
    """torch-fidelity's networks; grey images are repeated to three channels. A subclass names file and network.

    `weights`: path of the file; else the environment variable `variable`; else what download.py keeps, which `ensure`
    downloads. Weights with another hash than the published file's are accepted, but their distances are labelled with
    it: FD-inception-<hash>, never FID. torch-fidelity 0.4 unpickles what it downloads or is given and checks the hash
    of neither; so the file is read here, a pickle only ever with `weights_only`.
    """

    version = f"torch-fidelity-{version('torch-fidelity')}"
    remote: Remote
    variable: str
    is_fid = False  # whether the published weights are those whose distance is the FID

    def __init__(self, weights: str | None = None):
        given = weights or os.environ.get(self.variable)
        self._given = given is not None
        self.path = expanded(given, self.variable) if given else weights_path(self.remote)

    @abstractmethod
    def _network(self, state: dict[str, Tensor]) -> nn.Module:
        """The network that computes `layers`; a LookupError, ValueError or RuntimeError where the tensors do not fit."""

    @property
    def labels(self) -> dict[str, str]:
        if foreign := self.foreign_weights:
            return metric_labels(f"{self.family}-{foreign[:8]}")
        return metric_labels(None if self.is_fid else self.family)

    @cached_property
    def sha256(self) -> str:
        self.ensure()
        return known_sha256(self.path)  # each look-up builds an extractor

    @property
    def foreign_weights(self) -> str:  # type: ignore[override]
        return "" if not self.present or self.published else self.sha256

    @property
    def published(self) -> bool:
        """Whether the file is the published one; raises InputError where there is none."""
        return self.sha256.startswith(self.remote.sha256)

    @property
    def present(self) -> bool:
        return self.path.is_file()

    def ensure(self) -> None:
        """Find the weights or download them; raises InputError within seconds where neither can be done."""
        if self._given and not self.present:
            message = f"no weights file {self.path} (option `weights` or ${self.variable})"
            raise InputError(f"extractor {self.name!r}: {message}")
        fetch(
            self.remote,
            self.path,
            f"fetch it where there is a network, and put it at {self.path} or set {self.variable} to its path; or use an "
            "extractor that needs no download: 'cifar10-resnet' (32x32, colour), 'digits-cnn' (8x8, grey)",
        )

    def prepare(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise InputError(f"extractor {self.name!r} takes 1 or 3 channels, got {list(images.shape)}")
        return images.expand(-1, 3, -1, -1)

    def _state(self) -> dict[str, Tensor]:
        """The file's tensors by name; raises the errors that `_load` turns into one message."""
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise RuntimeError("no tensors by name")
        return state

    def _load(self) -> nn.Module:
        self.ensure()
        try:
            return self._network(self._state())
        except (pickle.UnpicklingError, LookupError, ValueError, RuntimeError, EOFError, OSError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise InputError(f"extractor {self.name!r}: {self.path} does not hold its weights ({reason})") from error
