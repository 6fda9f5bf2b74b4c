"""What every feature extractor shares: a name, a version, the weights' hash, labels, and extraction in batches.

An extractor wraps a network of torch-fidelity's kind (`FeatureExtractorBase`), so torch-fidelity's own entry points
and this suite run the very same computation.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from replication.metrics.features import Features
from replication.numerics import float32_as
from replication.types import InputError


def metric_labels(suffix: str | None) -> dict[str, str]:
    """Printed name of each metric: plain (FID) for Inception-2015-12-05, else with the extractor's name (FD-digits)."""
    plain = {"fd": "FID", "kid": "KID", "is": "IS", "precision": "Precision", "recall": "Recall"}
    if suffix is None:
        return plain
    return {key: f"{'FD' if key == 'fd' else label}-{suffix}" for key, label in plain.items()}


class Extractor(ABC):
    """uint8 images [N,C,H,W] -> Features. Subclasses say where the network comes from and which layers are read."""

    name: str
    version: str
    layers: tuple[str, str]  # torch-fidelity's names of the values layer and of the logits layer

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
    ) -> Features:
        """Features of uint8 images [N,C,H,W], or of a stream of such chunks; the result lies on the CPU.

        Raises InputError for images that are not uint8, of an unexpected shape, or absent.
        """
        chunks = [images] if isinstance(images, Tensor) else images
        total = len(images) if isinstance(images, Tensor) else None
        network = self.network.to(device)
        values: list[Tensor] = []
        logits: list[Tensor] = []
        with tqdm(total=total, desc=f"features {self.name}", unit="img", disable=not progress, leave=False) as bar:
            for chunk in chunks:
                if chunk.dtype != torch.uint8 or chunk.ndim != 4:
                    found = f"{chunk.dtype} {list(chunk.shape)}"
                    raise InputError(f"extractor {self.name!r} takes uint8 images [N,C,H,W], got {found}")
                for batch in chunk.split(batch_size):
                    with float32_as("float32"):  # the metric's own precision, whatever the samples' was
                        of_values, of_logits = network(self.prepare(batch.to(device)))
                    values.append(of_values.float().cpu())
                    logits.append(of_logits.float().cpu())
                    bar.update(len(batch))
        if not values:
            raise InputError(f"extractor {self.name!r} was given no images")
        return Features(torch.cat(values), torch.cat(logits))
