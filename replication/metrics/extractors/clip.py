"""The image half of CLIP (Radford et al. 2021), built by torch-fidelity: of its own for FD-clip, and of CMMD's size.

    clip-vit-b-32       FD-clip: images resized as TensorFlow 1 did, comparable with torch-fidelity's only
    clip-vit-l-14-336   CMMD (Jayasumana et al. 2024): images that Pillow resized

A published file is a TorchScript archive, which holds code besides tensors. It is opened as one only if its SHA-256
is the published one; any other file must hold tensors alone, under the same names.
"""

import warnings

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP, build_model

from replication.download import Remote
from replication.metrics.extractor import PublishedExtractor
from replication.metrics.resize import CLIP_MEAN, CLIP_STD, OfOneSize
from replication.registry import EXTRACTORS


class ClipFromTensors(FeatureExtractorCLIP):
    """torch-fidelity's extractor, built from tensors instead of a TorchScript file."""

    def __init__(self, name: str, features_list: list[str], state: dict[str, Tensor]):
        FeatureExtractorBase.__init__(self, name, features_list)
        self.feature_extractor_internal_dtype = torch.float32
        self.model = build_model(dict(state), torch.float32)
        self.resolution = self.model.visual.input_resolution


class _Clip(PublishedExtractor):
    def _state(self) -> dict[str, Tensor]:
        if not self.published:
            return super()._state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript's end, but that is what the file is
            return torch.jit.load(self.path, map_location="cpu").state_dict()


@EXTRACTORS.register("clip-vit-b-32")
class ClipExtractor(_Clip):
    """FD-clip: 512 features of CLIP (Radford et al. 2021); 354 MB, or $REPLICATION_CLIP_WEIGHTS.

    Without logits: CLIP has no inception score.
    """

    name, family, layers = "clip-vit-b-32", "clip", ("clip",)
    multiply_adds, width = 4.41e9, 512
    remote = Remote(MODEL_URLS[name], MODEL_METADATA[name]["hash"])
    variable = "REPLICATION_CLIP_WEIGHTS"

    def _network(self, state: dict[str, Tensor]) -> ClipFromTensors:
        return ClipFromTensors(self.name, list(self.layers), state)


@EXTRACTORS.register("clip-vit-l-14-336")
class ClipLargeExtractor(_Clip):
    """CMMD's network (Jayasumana et al. 2024), CLIP's ViT-L/14 at 336 pixels; or $REPLICATION_CLIP_L14_336_WEIGHTS.

    768 features, which are not normalised to length 1: CMMD does that itself. Without logits. The file has 0.9 GB.
    """

    name, family, layers, version = "clip-vit-l-14-336", "clip-l14-336", ("clip",), "1"
    multiply_adds, width = 191.0e9, 768
    remote = Remote(MODEL_URLS[f"{name}px"], MODEL_METADATA[f"{name}px"]["hash"])
    variable = "REPLICATION_CLIP_L14_336_WEIGHTS"

    def _network(self, state: dict[str, Tensor]) -> nn.Module:
        visual = build_model(dict(state), torch.float32).visual
        return OfOneSize(visual, visual.input_resolution, CLIP_MEAN, CLIP_STD)
