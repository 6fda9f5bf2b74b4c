"""Inception with random weights, which stands in for the published ones where these cannot be downloaded."""

import io
from pathlib import Path
from typing import Any

import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Unloaded(FeatureExtractorInceptionV3):
    """The bare architecture: the empty file that it is handed is not applied."""

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        return None


def write_inception(path: Path) -> Path:
    """Random weights in torch-fidelity's format."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    torch.manual_seed(0)
    network = Unloaded("inception-v3-compat", ["2048"], feature_extractor_weights_path=empty)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)  # keeps activations of order one through all layers
    torch.save(network.state_dict(), path)
    return path


def read_inception(path: Path) -> FeatureExtractorInceptionV3:
    """torch-fidelity's own network of pooled features, with the weights in a file of ours."""
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
