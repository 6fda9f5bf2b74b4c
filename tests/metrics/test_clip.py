"""CLIP's image half: random weights in the published format, and what else may stand in the file."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_fidelity.feature_extractor_clip import CLIPVisual, FeatureExtractorCLIP

from replication.metrics.extractors.clip import ClipExtractor
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
    visual = CLIPVisual(embed_dim=32, image_resolution=64, vision_layers=2, vision_width=64, vision_patch_size=32)
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
