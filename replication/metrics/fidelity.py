"""Point values from torch-fidelity's public interface, fed with features instead of images.

A feature extractor that hands its input through is registered with torch-fidelity; its "images" are rows of values and
logits side by side. So every image passes the network once, and each metric is still torch-fidelity's own arithmetic.
"""

from typing import Any

import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from replication.metrics.features import Features

NAME = "replication-features"
KID_SUBSETS = 100  # torch-fidelity's default, stated because the error of KID depends on it


class HandThrough(FeatureExtractorBase):
    """Rows [B,D+K] -> values [B,D] and logits [B,K]; D comes as the keyword `values_width`."""

    def __init__(self, name: str, features_list: list[str], values_width: int, **_: Any):
        super().__init__(name, features_list)
        self.values_width = values_width

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("values", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "values"

    def forward(self, rows: Tensor) -> tuple[Tensor, ...]:
        layers = {"values": rows[:, : self.values_width], "logits": rows[:, self.values_width :]}
        return tuple(layers[name] for name in self.features_list)


torch_fidelity.register_feature_extractor(NAME, HandThrough)


class Rows(Dataset[Tensor]):
    """Features as a dataset of rows [D+K]."""

    def __init__(self, features: Features):
        self.rows = torch.cat([features.values, features.logits], dim=1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


def fidelity_metrics(generated: Features, reference: Features) -> dict[str, float]:
    """fd, kid, kid_std (over subsets), is, is_std (over splits), precision, recall of one set of generated images."""
    found = torch_fidelity.calculate_metrics(
        input1=Rows(generated),
        input2=Rows(reference),
        feature_extractor=NAME,
        values_width=generated.values.shape[1],
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=min(1000, len(generated), len(reference)),
        batch_size=1024,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes, and precision and recall without an [N,M] matrix
    )
    return {
        "fd": found[torch_fidelity.KEY_METRIC_FID],
        "kid": found[torch_fidelity.KEY_METRIC_KID_MEAN],
        "kid_std": found[torch_fidelity.KEY_METRIC_KID_STD],
        "is": found[torch_fidelity.KEY_METRIC_ISC_MEAN],
        "is_std": found[torch_fidelity.KEY_METRIC_ISC_STD],
        "precision": found[torch_fidelity.KEY_METRIC_PRECISION],
        "recall": found[torch_fidelity.KEY_METRIC_RECALL],
    }
