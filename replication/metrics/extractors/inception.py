"""`inception-v3-compat`: Inception-2015-12-05 as torch-fidelity ports it, the only extractor whose distance is FID.

The network and its TensorFlow-like resizing are torch-fidelity's. The spatial features of sFID (Nash et al. 2021) are
added, as ADM's evaluator reads them off the TensorFlow graph: node `mixed_6/conv`, 17x17, its first 7 channels. Blocks are
counted there from mixed, mixed_1, ..., so that mixed_6 is Mixed_6d here (as in torch-fidelity's table of the conversion),
`conv` is its 1x1 branch after batch normalisation and ReLU: the first 7 channels of the block's output too.
"""

import io

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from replication.download import Remote
from replication.metrics.extractor import PublishedExtractor
from replication.registry import EXTRACTORS

SPATIAL_CHANNELS = 7
WEIGHTS = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"


class WithSpatial(nn.Module):
    """torch-fidelity's network; the layers asked for are followed by spatial features [B,2023]: row, column, channel."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._spatial = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (*self.network(images), self._spatial)


@EXTRACTORS.register("inception-v3-compat")
class InceptionExtractor(PublishedExtractor):
    """FID itself, on Inception-2015-12-05 (Heusel et al. 2017); 95 MB, or $REPLICATION_INCEPTION_WEIGHTS.

    2048 pooled features, 1008 unbiased logits and 2023 spatial features.
    """

    name, family, is_fid = "inception-v3-compat", "inception", True
    layers = ("2048", "logits_unbiased", "spatial")
    multiply_adds, width = 5.67e9, 2048 + 1008 + 2023
    remote = Remote(WEIGHTS, WEIGHTS.removesuffix(".pth").rsplit("-", 1)[1])  # its hash's start
    variable = "REPLICATION_INCEPTION_WEIGHTS"

    def _network(self, state: dict[str, Tensor]) -> WithSpatial:
        # torch-fidelity brings torchvision along, which takes longer to import than to list an experiment
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        copy = io.BytesIO()  # torch-fidelity unpickles it, so it gets what this process wrote
        torch.save(state, copy)
        copy.seek(0)
        layers = list(self.layers[:2])
        network = FeatureExtractorInceptionV3(self.name, layers, feature_extractor_weights_path=copy)
        make_lean(network)
        return WithSpatial(network)


def make_lean(network: nn.Module) -> None:
    """Bring it to channels_last, with its batch norms within the convolutions before them, which rounds otherwise.

    On a processor that takes two thirds of the time, nearly what the products alone take; features move by some 1e-6 of
    the largest.
    """
    for module in network.modules():
        convolution, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    network.to(memory_format=torch.channels_last)
