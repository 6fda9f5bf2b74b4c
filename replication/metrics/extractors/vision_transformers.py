"""Vision transformers: the image half of CLIP (Radford et al. 2021), and DINOv2 (Oquab et al. 2023), each in two ways.

    clip-vit-l-14-336   CMMD (Jayasumana et al. 2024): images that Pillow resized
    dinov2-vit-l-14     FD-dinov2: ViT-L/14 of images that Pillow resized, as Stein et al. 2023 (dgm-eval) and EDM2 have it
    clip-vit-b-32       FD-clip: images resized as TensorFlow 1 did, comparable with torch-fidelity's only
    dinov2-vit-b-14     FD-dinov2-b14: ViT-B/14, likewise

The authors of CMMD and of FD-DINOv2 resize 8-bit images with Pillow's bicubic filter (a = -1/2, stretched where the image
shrinks, so that nothing aliases) and divide by the standard deviations of the network's training images. torch-fidelity's
extractors resize as TensorFlow 1 did, bilinearly and without a filter: their distances are others.

A published file of CLIP is a TorchScript archive, which holds code besides tensors. It is opened as one only if its SHA-256
is the published one; any other file must hold tensors alone, under the same names. Of DINOv2 torch-fidelity fetches the
network's code from its repository's main branch and runs it, and takes no weights from a file. So that vision transformer is
written out here, with the names of the published tensors.
"""

import warnings
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP, build_model
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from replication.download import Remote
from replication.metrics.extractor import PublishedExtractor
from replication.registry import EXTRACTORS

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HEAD = 64  # channels of an attention head of DINOv2, in all four published sizes
_norm = partial(nn.LayerNorm, eps=1e-6)


def pillow_bicubic(images: Tensor, side: int) -> Tensor:
    """uint8 [B,C,H,W] -> float32 [B,C,side,side] of whole levels 0..255: rows first, then columns, each rounded to 8 bits."""
    x = images.float()
    for size in ((x.shape[2], side), (side, side)):
        if x.shape[2:] != size:
            x = (F.interpolate(x, size, mode="bicubic", antialias=True) + 0.5).floor().clamp(0, 255)
    return x


class OfOneSize(nn.Module):
    """uint8 [B,3,H,W] -> the network's features of the image at `side` pixels, normalised by channel: a tuple of [B,D]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, side: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.network, self.side = network, side
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network((pillow_bicubic(images, self.side) / 255 - self.mean) / self.std),)


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


class Block(nn.Module):
    """Attention and a hidden layer of four times the width, each added with a learned scale per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = _norm(width), _norm(width)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(width)}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B,L,width] -> the same."""
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(-1, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # from [B,heads,L,HEAD]
        x = x + self.ls1["gamma"] * self.attn["proj"](attended)
        return x + self.ls2["gamma"] * self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Dinov2(nn.Module):
    """Normalised images [B,3,H,W] -> the class token after the last norm, [B,width].

    `grid`: patches per side that positions were learned for, 37 of 14 pixels; they are resized to the image's.
    """

    def __init__(self, width: int, depth: int, patch: int, grid: int):
        super().__init__()
        self.grid = grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = _norm(width)

    def positions(self, height: int, width: int) -> Tensor:
        """Of height x width patches, [1,height*width,C]; the 0.1 is the authors', and shifts the samples a little."""
        learned = self.pos_embed[:, 1:].unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        scale = ((height + 0.1) / self.grid, (width + 0.1) / self.grid)
        return F.interpolate(learned, scale_factor=scale, mode="bicubic").flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](images)  # [B,C,h,w]
        tokens = patches.flatten(2).transpose(1, 2) + self.positions(*patches.shape[2:])
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        x = torch.cat([first, tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def from_state(state: dict[str, Tensor]) -> Dinov2:
    """The network that the tensors fit, with them in it; KeyError or RuntimeError where they fit none."""
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    positions, (width, _, patch, _) = state["pos_embed"].shape[1], state["patch_embed.proj.weight"].shape
    network = Dinov2(width, depth, patch, round((positions - 1) ** 0.5))
    network.load_state_dict({name: tensor for name, tensor in state.items() if name != "mask_token"})  # training's
    return network


class Dinov2FromTensors(FeatureExtractorDinoV2):
    """torch-fidelity's extractor, around this network instead of the one from torch hub."""

    def __init__(self, name: str, features_list: list[str], state: dict[str, Tensor]):
        FeatureExtractorBase.__init__(self, name, features_list)
        self.feature_extractor_internal_dtype = torch.float32
        self.model = from_state(state)


@EXTRACTORS.register("dinov2-vit-l-14")
class Dinov2Extractor(PublishedExtractor):
    """FD-DINOv2 as published (Stein et al. 2023): 1,024 features of ViT-L/14; 1.2 GB, or $REPLICATION_DINOV2_L14_WEIGHTS.

    Images are 224 x 224. Without logits: DINOv2 has no inception score.
    """

    name, family, layers, version = "dinov2-vit-l-14", "dinov2", ("dinov2",), "1"
    multiply_adds, width = 81.0e9, 1024
    remote = Remote(
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        1_217_586_395,
    )
    variable = "REPLICATION_DINOV2_L14_WEIGHTS"

    def _network(self, state: dict[str, Tensor]) -> OfOneSize:
        return OfOneSize(from_state(state), 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@EXTRACTORS.register("dinov2-vit-b-14")
class Dinov2BaseExtractor(PublishedExtractor):
    """FD-dinov2-b14: 768 features of ViT-B/14 (Oquab et al. 2023); 346 MB, or $REPLICATION_DINOV2_WEIGHTS.

    torch-fidelity's, not the published FD-DINOv2: a smaller network, and images resized as TensorFlow 1 did. Without logits.
    """

    name, family, layers = "dinov2-vit-b-14", "dinov2-b14", ("dinov2",)
    multiply_adds, width = 23.2e9, 768
    remote = Remote(
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    )
    variable = "REPLICATION_DINOV2_WEIGHTS"

    def _network(self, state: dict[str, Tensor]) -> Dinov2FromTensors:
        return Dinov2FromTensors(self.name, list(self.layers), state)
