"""`clip-vit-b-32`: the image half of CLIP (Radford et al. 2021) as torch-fidelity builds it, for FD-clip.

The published file is a TorchScript archive, which holds code besides tensors. It is opened as one only if its SHA-256
is the published one; any other file must hold tensors alone, under the same names.
"""

import warnings

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP, build_model

from replication.download import Remote
from replication.metrics.extractor import PublishedExtractor
from replication.registry import EXTRACTORS


class ClipFromTensors(FeatureExtractorCLIP):
    """torch-fidelity's extractor, built from tensors instead of a TorchScript file."""

    def __init__(self, name: str, features_list: list[str], state: dict[str, Tensor]):
        FeatureExtractorBase.__init__(self, name, features_list)
        self.feature_extractor_internal_dtype = torch.float32
        self.model = build_model(dict(state), torch.float32)
        self.resolution = self.model.visual.input_resolution


@EXTRACTORS.register("clip-vit-b-32")
class ClipExtractor(PublishedExtractor):
    """FD-clip: 512 features of CLIP (Radford et al. 2021); 354 MB, or $REPLICATION_CLIP_WEIGHTS.

    Without logits: CLIP has no inception score.
    """

    name, family, layers = "clip-vit-b-32", "clip", ("clip",)
    remote = Remote(MODEL_URLS[name], MODEL_METADATA[name]["hash"])
    variable = "REPLICATION_CLIP_WEIGHTS"

    def _state(self) -> dict[str, Tensor]:
        if not self.published:
            return super()._state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript's end, but that is what the file is
            return torch.jit.load(self.path, map_location="cpu").state_dict()

    def _network(self, state: dict[str, Tensor]) -> ClipFromTensors:
        return ClipFromTensors(self.name, list(self.layers), state)
