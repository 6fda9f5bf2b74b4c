"""Inception with random weights, which stands in for the published ones offline; our extractors as torch-fidelity's."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from replication.metrics.features import PARTS
from replication.registry import EXTRACTORS


class Unloaded(FeatureExtractorInceptionV3):
    """The bare architecture: the empty file that it is handed is not applied."""

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        return None


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in torch-fidelity's format."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    torch.manual_seed(0)
    network = Unloaded("inception-v3-compat", ["2048"], feature_extractor_weights_path=empty)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)  # keeps activations of order one through all layers
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


class Plugin(FeatureExtractorBase):
    """The embedded extractor of that name for torch-fidelity, which then does the rest itself."""

    def __init__(self, name: str, features_list: list[str], **_: Any):
        super().__init__(name, features_list)
        self.network = EXTRACTORS.build(name).network

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return PARTS

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "values"

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        layers = dict(zip(PARTS, self.network(images), strict=True))
        return tuple(layers[name] for name in self.features_list)


@pytest.fixture(scope="session")
def plugged_in() -> None:
    """torch-fidelity has our embedded extractors, under their names."""
    for name in ("digits-cnn", "cifar10-resnet"):
        register_feature_extractor(name, Plugin)
