"""Our embedded extractors as torch-fidelity's, under their names."""

from typing import Any

import torch
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from replication.metrics.features import PARTS
from replication.registry import EXTRACTORS


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


def plug_in() -> None:
    for name in ("digits-cnn", "cifar10-resnet"):
        register_feature_extractor(name, Plugin)
