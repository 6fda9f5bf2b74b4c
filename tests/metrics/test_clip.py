"""CLIP's image half: random weights in the published format, and what else may stand in the file."""

import warnings
from dataclasses import replace
from pathlib import Path

import by_pillow
import pytest
import torch
from torch import nn
from torch_fidelity.feature_extractor_clip import CLIPVisual, FeatureExtractorCLIP
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from replication.metrics.extractors.vision_transformers import ClipExtractor
from replication.registry import EXTRACTORS
from replication.types import InputError


def nested(state: dict[str, torch.Tensor]) -> nn.Module:
    """A module without code that holds the tensors under their names."""
    root = nn.Module()
    for name, tensor in state.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    return root


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A small transformer under CLIP's names, with a piece of the text half, which is not used."""
    torch.manual_seed(0)
    visual = CLIPVisual(embed_dim=32, image_resolution=64, vision_layers=2, vision_width=128, vision_patch_size=32)
    text = {"text_projection": torch.randn(16, 32), "ln_final.weight": torch.ones(16), "logit_scale": torch.ones(())}
    return {name: tensor.half() for name, tensor in (visual.state_dict() | text).items()}


@pytest.fixture(scope="module")
def archive(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "random.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(nested(state)).save(path)
    return path


IMAGES = torch.randint(0, 256, (5, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*deprecated:FutureWarning")  # in torch-fidelity
def test_features_are_torch_fidelitys(
    archive: Path, state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published kind of file (its hash taken for the published one here) and the same tensors in a plain file give
    what torch-fidelity computes from the former, max-abs 1e-6 of values of order one; without logits.

    Catches: weights kept in half precision, images rescaled before the network, another label than the file deserves.
    """
    theirs = FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(archive)).eval()
    with torch.no_grad():
        (expected,) = theirs(IMAGES)
    plain = tmp_path / "tensors.pth"
    torch.save(state, plain)
    extractor = EXTRACTORS.build("clip-vit-b-32", weights=str(plain))
    assert extractor.labels["fd"] == f"FD-clip-{extractor.sha256[:8]}"
    as_published = EXTRACTORS.build("clip-vit-b-32", weights=str(archive))
    monkeypatch.setattr(ClipExtractor, "remote", replace(ClipExtractor.remote, sha256=as_published.sha256))
    assert as_published.labels["fd"] == "FD-clip"
    assert expected.std() > 0.1
    for found in (extractor(IMAGES, batch_size=2), as_published(IMAGES)):
        assert found.parts().keys() == {"values"}
        assert (found.values - expected).abs().max().item() < 1e-6


def by_transformers(state: dict[str, torch.Tensor]) -> nn.Module:
    """The same network in transformers: pixels [B,3,64,64] -> embeddings [B,32]."""
    config = CLIPVisionConfig(
        hidden_size=128, intermediate_size=512, projection_dim=32, num_hidden_layers=2, num_attention_heads=2, image_size=64,
        patch_size=32,
    )  # fmt: skip
    renamed = {
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T,
    }
    for end in ("weight", "bias"):
        renamed[f"vision_model.pre_layrnorm.{end}"] = state[f"visual.ln_pre.{end}"]
        renamed[f"vision_model.post_layernorm.{end}"] = state[f"visual.ln_post.{end}"]
        for i in range(2):
            ours, theirs = f"visual.transformer.resblocks.{i}", f"vision_model.encoder.layers.{i}"
            for name, part in zip("qkv", state[f"{ours}.attn.in_proj_{end}"].chunk(3), strict=True):
                renamed[f"{theirs}.self_attn.{name}_proj.{end}"] = part
            for a, b in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ):
                renamed[f"{theirs}.{b}.{end}"] = state[f"{ours}.{a}.{end}"]
    network = CLIPVisionModelWithProjection(config).eval()
    network.load_state_dict({name: tensor.float() for name, tensor in renamed.items()})
    return network


def test_cmmds_network_is_transformers_on_pillows_images(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Images as Pillow makes them of the network's size, normalised by hand, through transformers' CLIP, within 1 % of the
    features' deviation; features keep their length. Catches: the exact GELU, another size than the network's, features
    before the projection or already normalised."""
    path = tmp_path / "tensors.pth"
    torch.save(state, path)
    extractor = EXTRACTORS.build("clip-vit-l-14-336", weights=str(path))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.no_grad():
        expected = by_transformers(state)((by_pillow.resized(IMAGES, 64) / 255 - mean) / std).image_embeds
    found = extractor(IMAGES, batch_size=2)
    assert found.parts().keys() == {"values"}
    assert (found.values - expected).abs().max() < 0.01 * expected.std()
    assert (expected.norm(dim=1) - 1).abs().min() > 0.05
    assert extractor.labels["fd"] == f"FD-clip-l14-336-{extractor.sha256[:8]}"


def test_cmmds_file_is_the_published_one() -> None:
    """openai/CLIP puts the SHA-256 into the address. Catches: the file of 224 pixels, an address of another file."""
    remote = EXTRACTORS.build("clip-vit-l-14-336").remote
    assert remote.url.endswith(f"{remote.sha256}/ViT-L-14-336px.pt")


@pytest.mark.filterwarnings("ignore:.*dispatching to 'torch.jit.load':UserWarning")
def test_other_archives_are_refused(archive: Path) -> None:
    """A TorchScript archive holds code: with another hash than the published one's it is not opened. Catches: any
    archive handed to torch.jit.load."""
    with pytest.raises(InputError, match=f"{archive} does not hold its weights .*TorchScript"):
        EXTRACTORS.build("clip-vit-b-32", weights=str(archive))(IMAGES)


def test_other_tensors_are_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """A part missing, another network's, no tensors at all: InputError naming the file. Catches: a KeyError."""
    path = tmp_path / "other.pth"
    for content in ({**state} | {"visual.extra": torch.zeros(2)}, {"fc.weight": torch.zeros(3)}, [torch.zeros(3)]):
        torch.save(content, path)
        with pytest.raises(InputError, match=f"{path} does not hold its weights"):
            EXTRACTORS.build("clip-vit-b-32", weights=str(path))(IMAGES)
