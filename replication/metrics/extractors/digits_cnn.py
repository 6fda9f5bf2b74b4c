"""`digits-cnn`: the embedded extractor, a small classifier of 8x8 grey digits. Its distances are FD-digits, never FID.

`python -m replication.metrics.train_digits_cnn` trains it; weights/digits-cnn.md says how well it does. It is also
registered with torch-fidelity as `digits-cnn`, with layers `values` [N,64], `logits` [N,10] and `spatial` [N,112].
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from replication.metrics.extractor import Extractor, metric_labels
from replication.registry import EXTRACTORS
from replication.types import InputError

WEIGHTS = Path(__file__).parents[1] / "weights" / "digits-cnn.safetensors"
SHA256 = "365d798d941b65855d37b0878caef55c306826f779c33f6ae8835047abb7b642"


class DigitsCNN(nn.Module):
    """uint8 [B,1,8,8] -> (values [B,64], logits [B,10], spatial [B,112]); the logits are linear in the values.

    The spatial features are the first seven channels of the last map of 4x4, as sFID takes seven of Inception's.

    The values are standardised to variance 1 over training digits: KID's kernel (a.b / D + 1)^3 is balanced for
    features of that size, and is all cube, hence all noise, for larger ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in [(1, 32), (32, 32), (32, 64)])
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (32, 32, 64))
        self.hidden = nn.Linear(64 * 4 * 4, 64)
        self.standardise = nn.BatchNorm1d(64, affine=False)
        self.classes = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = images.float() / 127.5 - 1  # [B,1,8,8] in [-1, 1]
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            h = F.silu(norm(convolution(h)))
            h = F.max_pool2d(h, 2) if i == 1 else h  # [B,64,4,4] in the end
        values = self.standardise(F.silu(self.hidden(h.flatten(1))))  # [B,64]
        return values, self.classes(values), h[:, :7].flatten(1)


def verified_weights() -> bytes:
    """The shipped file's content; raises InputError where it is absent or not the one whose SHA-256 is pinned here."""
    try:
        content = WEIGHTS.read_bytes()
    except OSError as error:
        raise InputError(f"extractor 'digits-cnn': cannot read {WEIGHTS}: {error.strerror}; reinstall") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise InputError(f"extractor 'digits-cnn': {WEIGHTS} has SHA-256 {found}, expected {SHA256}; reinstall")
    return content


class DigitsFeatureExtractor(FeatureExtractorBase):
    """The classifier as torch-fidelity's plug-in: uint8 [B,1,8,8] -> a tuple of the requested layers."""

    def __init__(self, name: str, features_list: list[str], **_: Any):
        super().__init__(name, features_list)
        self.classifier = DigitsCNN()
        self.classifier.load_state_dict(load(verified_weights()))

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("values", "logits", "spatial")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "values"

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        layers = dict(zip(self.get_provided_features_list(), self.classifier(images), strict=True))
        return tuple(layers[name] for name in self.features_list)


register_feature_extractor("digits-cnn", DigitsFeatureExtractor)


@EXTRACTORS.register("digits-cnn")
class DigitsExtractor(Extractor):
    """64 features, 10 logits and 112 spatial features of 8x8 grey digits; weights are part of the package."""

    name = "digits-cnn"
    version = "1"
    layers = ("values", "logits", "spatial")
    classifies = "digits"
    labels = metric_labels("digits")
    sha256 = SHA256

    def ensure(self) -> None:
        verified_weights()

    def _load(self) -> DigitsFeatureExtractor:
        return DigitsFeatureExtractor(self.name, list(self.layers))

    def prepare(self, images: Tensor) -> Tensor:
        if images.shape[1:] != torch.Size([1, 8, 8]):
            raise InputError(f"extractor 'digits-cnn' takes images [N,1,8,8], got {list(images.shape)}")
        return images
