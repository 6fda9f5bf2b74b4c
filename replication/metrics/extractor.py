"""What every feature extractor shares: a name, a version, the weights' hash, labels, and extraction in a stream.

An extractor wraps a network of torch-fidelity's kind (`FeatureExtractorBase`), so torch-fidelity's own entry points
and this suite run the very same computation.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from replication.metrics.features import PARTS, Features
from replication.metrics.metric import Metric, metrics
from replication.numerics import float32_as
from replication.progress import bar
from replication.types import InputError


def metric_labels(suffix: str | None) -> dict[str, str]:
    """Printed name of each metric: plain (FID) for Inception-2015-12-05, else with the extractor's name (FD-digits)."""
    return {metric.name: _label(metric, suffix) for metric in metrics()}


def _label(metric: Metric, suffix: str | None) -> str:
    if suffix is None or not metric.of_features:
        return metric.label
    return metric.label.replace("FID", f"FD-{suffix}") if "FID" in metric.label else f"{metric.label}-{suffix}"


class Extractor(ABC):
    """uint8 images [N,C,H,W] -> Features. Subclasses say where the network comes from and which layers are read."""

    name: str
    version: str
    layers: tuple[str, ...]  # torch-fidelity's names of the values, the logits and the spatial layer, or the first ones
    foreign_weights = ""  # the hash of weights that are not those the name stands for
    classifies: str | None = None  # the dataset whose classes, in its order, the logits are of

    @property
    @abstractmethod
    def labels(self) -> dict[str, str]:
        """Printed name of each metric key; never raises, so that a table of unrun cells can be headed."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """SHA-256 of the weights file, hexadecimal; raises InputError where there is none."""

    @property
    def present(self) -> bool:
        """Whether the weights are on this machine, without fetching them."""
        return True

    @abstractmethod
    def ensure(self) -> None:
        """Make sure, cheaply, that the weights are at hand; raises InputError saying how to get them."""

    @abstractmethod
    def _load(self) -> Any:
        """The FeatureExtractorBase with the weights in it, asked for `layers` in that order."""

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Bring uint8 [B,C,H,W] to the channels that the network takes; raises InputError for other shapes."""

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
        chunks = [images] if isinstance(images, Tensor) else images
        total = len(images) if isinstance(images, Tensor) else total
        network = self.network.to(device)
        parts: list[Tensor] = []
        done = n = 0
        with bar(total, f"features {self.name}", "img", enabled=progress) as shown:
            for chunk in chunks:
                if chunk.dtype != torch.uint8 or chunk.ndim != 4:
                    found = f"{chunk.dtype} {list(chunk.shape)}"
                    raise InputError(f"extractor {self.name!r} takes uint8 images [N,C,H,W], got {found}")
                n += len(chunk)
                if n > total:
                    break
                for batch in chunk.split(batch_size):
                    with float32_as("float32"):  # the metric's own precision, whatever the samples' was
                        found_parts = network(self.prepare(batch.to(device)))
                    parts = parts or [torch.empty(total, rows.shape[1]) for rows in found_parts]
                    for part, rows in zip(parts, found_parts, strict=True):
                        part[done : done + len(batch)] = rows
                    done += len(batch)
                    shown.update(len(batch))
        if n == 0:
            raise InputError(f"extractor {self.name!r} was given no images")
        if n != total:
            raise InputError(
                f"extractor {self.name!r} expects {total} images and was given {n}{' or more' * (n > total)}"
            )
        return Features(**dict(zip(PARTS, parts, strict=False)))
