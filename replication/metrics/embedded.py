"""Extractors whose weights are part of the package: a small classifier, and a file that must have a pinned SHA-256."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from replication.metrics.extractor import Extractor, metric_labels
from replication.registry import EXTRACTORS
from replication.types import InputError

FOLDER = Path(__file__).parent / "weights"  # <name>.safetensors, and <name>.md: the card


class EmbeddedExtractor(Extractor):
    """uint8 images [N,C,H,W] of one shape -> Features; a subclass is a name, a classifier, a shape and a hash.

    `EmbeddedFeatureExtractor` must be registered with torch-fidelity under the same name.
    """

    version = "1"
    layers = ("values", "logits", "spatial")
    classifier: Callable[[], nn.Module]  # uint8 [B,C,H,W] -> the layers, in their order; untrained
    shape: tuple[int, int, int]  # C, H, W
    family: str  # what its distances are called: FD-<family>

    @property
    def labels(self) -> dict[str, str]:
        return metric_labels(self.family)

    @property
    def path(self) -> Path:
        """The weights file; the card lies beside it."""
        return FOLDER / f"{self.name}.safetensors"

    def weights(self) -> dict[str, Tensor]:
        """The file's tensors; raises InputError where it is absent or not the one whose SHA-256 is pinned."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"extractor {self.name!r}: cannot read {self.path}: {error.strerror}; reinstall"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            expected = f"expected {self.sha256}; reinstall"
            raise InputError(f"extractor {self.name!r}: {self.path} has SHA-256 {found}, {expected}")
        return load(content)

    def ensure(self) -> None:
        self.weights()

    def prepare(self, images: Tensor) -> Tensor:
        if images.shape[1:] != torch.Size(self.shape):
            expected = ",".join(map(str, self.shape))
            raise InputError(f"extractor {self.name!r} takes images [N,{expected}], got {list(images.shape)}")
        return images

    def _load(self) -> "EmbeddedFeatureExtractor":
        return EmbeddedFeatureExtractor(self.name, list(self.layers))


class EmbeddedFeatureExtractor(FeatureExtractorBase):
    """The classifier of the extractor `name` as torch-fidelity's plug-in: uint8 images -> a tuple of `features_list`."""

    def __init__(self, name: str, features_list: list[str], **_: Any):
        super().__init__(name, features_list)
        extractor: EmbeddedExtractor = EXTRACTORS.build(name)
        self.classifier = extractor.classifier()
        self.classifier.load_state_dict(extractor.weights())

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return EmbeddedExtractor.layers

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "values"

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        layers = dict(zip(self.get_provided_features_list(), self.classifier(images), strict=True))
        return tuple(layers[name] for name in self.features_list)
