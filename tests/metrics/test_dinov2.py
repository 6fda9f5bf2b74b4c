"""DINOv2, written out from its paper: against PyTorch's own transformer layers, and torch-fidelity's extractor."""

from pathlib import Path

import by_pillow
import pytest
import torch
from torch import nn
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from replication.metrics.extractors.vision_transformers import Block, Dinov2, from_state
from replication.registry import EXTRACTORS
from replication.types import InputError


def random_network() -> Dinov2:
    torch.manual_seed(0)
    network = Dinov2(width=128, depth=2, patch=14, grid=37)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network.requires_grad_(False).eval()


def standard(block: Block) -> nn.TransformerEncoderLayer:
    """PyTorch's own layer with the block's weights, its scales folded into the output matrices."""
    width = block.norm1.weight.numel()
    layer = nn.TransformerEncoderLayer(
        width,
        width // 64,
        4 * width,
        dropout=0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    state = {"self_attn.in_proj_weight": block.attn["qkv"].weight, "self_attn.in_proj_bias": block.attn["qkv"].bias}
    for theirs, ours, gamma in (
        ("self_attn.out_proj", block.attn["proj"], block.ls1["gamma"]),
        ("linear1", block.mlp["fc1"], None),
        ("linear2", block.mlp["fc2"], block.ls2["gamma"]),
        ("norm1", block.norm1, None),
        ("norm2", block.norm2, None),
    ):
        state[f"{theirs}.weight"] = ours.weight if gamma is None else gamma[:, None] * ours.weight
        state[f"{theirs}.bias"] = ours.bias if gamma is None else gamma * ours.bias
    layer.load_state_dict(state)
    return layer.eval()


def test_the_network_is_made_of_standard_parts() -> None:
    """Patches cut out and multiplied, PyTorch's encoder layers, the class token normalised: max-abs 1e-5 of values of
    order one, for an image of 2 x 3 patches.

    Catches: q, k and v exchanged, heads split along the wrong axis, the tanh GELU, a bias that is not scaled, patch
    tokens averaged, rows of patches taken for columns, the class token without its position.
    """
    network = random_network()
    images = torch.randn(2, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    projection = network.patch_embed["proj"]
    patches = nn.functional.unfold(images, 14, stride=14).transpose(1, 2) @ projection.weight.flatten(1).T
    first = (network.cls_token + network.pos_embed[:, :1]).expand(2, -1, -1)
    x = torch.cat([first, patches + projection.bias + network.positions(2, 3)], dim=1)
    with torch.no_grad():
        for block in network.blocks:
            assert isinstance(block, Block)
            x = standard(block)(x)
        expected = nn.functional.layer_norm(x[:, 0], (128,), network.norm.weight, network.norm.bias, 1e-6)
        assert expected.std() > 0.1
        assert (network(images) - expected).abs().max().item() < 1e-5


def test_positions_are_sampled_where_the_authors_sample_them() -> None:
    """Positions that grow by 1 per row are read at (i + 1/2) * 37 / 16.1 - 1/2, away from the rim and within the 0.05
    by which torch's cubic bends a line. Catches: the 0.1 left out (0.19 off at row 13), rows taken for columns."""
    network = random_network()
    network.pos_embed[0, 1:] = torch.arange(37.0).repeat_interleave(37)[:, None]
    rows = network.positions(16, 16).reshape(16, 16, 128)[2:14, 5, 0]
    expected = (torch.arange(2, 14) + 0.5) * 37 / 16.1 - 0.5
    assert (rows - expected).abs().max().item() < 0.06


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dinov2") / "random.pth"
    torch.save(random_network().state_dict() | {"mask_token": torch.zeros(1, 128)}, path)
    return path


IMAGES = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_features_are_torch_fidelitys(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-fidelity's extractor, handed this network by a hub that is not asked, answers the same, max-abs 1e-6 of
    values of order one. Catches: images normalised otherwise, logits made up."""
    monkeypatch.setattr(torch.hub, "load", lambda *_: random_network())
    theirs = FeatureExtractorDinoV2("dinov2-vit-b-14", ["dinov2"])
    with torch.no_grad():
        (expected,) = theirs(IMAGES)
    extractor = EXTRACTORS.build("dinov2-vit-b-14", weights=str(weights))
    found = extractor(IMAGES, batch_size=2)
    assert extractor.labels["fd"] == f"FD-dinov2-b14-{extractor.sha256[:8]}"
    assert found.parts().keys() == {"values"}
    assert expected.std() > 0.1
    assert (found.values - expected).abs().max().item() < 1e-6


def test_as_published_images_are_resized_by_pillow(weights: Path) -> None:
    """The same network on what Pillow makes of the images, normalised by hand, within 1 % of the features' deviation; as
    torch-fidelity resizes them, they are over 10 % off. Catches: the name of the publication on another resize."""
    extractor = EXTRACTORS.build("dinov2-vit-l-14", weights=str(weights))
    found = extractor(IMAGES, batch_size=2).values
    levels = by_pillow.resized(IMAGES, 224) / 255
    statistics = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    with torch.no_grad():
        expected = random_network()((levels - statistics[0]) / statistics[1])
    assert (found - expected).abs().max() < 0.01 * expected.std()
    otherwise = EXTRACTORS.build("dinov2-vit-b-14", weights=str(weights))(IMAGES).values
    assert (otherwise - expected).abs().max() > 0.1 * expected.std()
    assert extractor.labels["fd"] == f"FD-dinov2-{extractor.sha256[:8]}"
    assert found.shape == (3, 128)


@pytest.mark.parametrize(
    ("width", "depth", "parameters"), [(768, 12, 86_580_480), (1024, 24, 304_368_640)], ids=["ViT-B/14", "ViT-L/14"]
)
def test_the_published_networks_are_built(width: int, depth: int, parameters: int) -> None:
    """They have that many parameters with the mask token's, one for each channel, which serves training alone. Catches: a
    bias or a norm left out, positions for another grid."""
    with torch.device("meta"):
        network = Dinov2(width, depth, patch=14, grid=37)
    assert sum(parameter.numel() for parameter in network.parameters()) + width == parameters


def test_labels_are_those_of_the_publication() -> None:
    """Catches: FD-dinov2 for a smaller network than the publication's."""
    labels = {name: EXTRACTORS.build(name).labels["fd"] for name in ("dinov2-vit-l-14", "dinov2-vit-b-14")}
    assert labels == {"dinov2-vit-l-14": "FD-dinov2", "dinov2-vit-b-14": "FD-dinov2-b14"}


def test_other_tensors_are_refused(tmp_path: Path, weights: Path) -> None:
    """Another network's tensors, or a block short of one: InputError naming the file. Catches: a KeyError, a missing
    tensor left at its random start."""
    path = tmp_path / "other.pth"
    short = torch.load(weights, weights_only=True)
    del short["blocks.1.mlp.fc2.bias"]
    with pytest.raises(RuntimeError, match=r"blocks\.1\.mlp\.fc2\.bias"):
        from_state(short)
    for content in (short, {"fc.weight": torch.zeros(3)}):
        torch.save(content, path)
        with pytest.raises(InputError, match=f"{path} does not hold its weights"):
            EXTRACTORS.build("dinov2-vit-b-14", weights=str(path))(IMAGES)
