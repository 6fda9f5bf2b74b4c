"""CLIP's two halves with random weights, saved as the Hub has them: against transformers, and in a row on text."""

import os
from pathlib import Path

import pytest
import torch
from conditions.tiny_encoders import clip_network, clip_tokenizer
from harness.tiny_latent import write_tiny_latent
from metrics.by_pillow import resized
from transformers import CLIPConfig, CLIPModel

from replication.conditions.captions import captions
from replication.files import file_sha256
from replication.harness import clip_pair as module
from replication.harness.clip_pair import VARIABLE, clip_pair
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of, find_cell
from replication.harness.workplace import Workplace
from replication.metrics.without_reference import ClipScore
from replication.types import InputError

CPU = torch.device("cpu")
TEXTS = ["a ship", "an apple and a ship", "a " * 60]  # the last has more tokens than fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = clip_network().config.to_dict()
    config = CLIPConfig(text_config=text, vision_config=vision | {"image_size": 32, "patch_size": 8}, projection_dim=12)
    torch.manual_seed(0)
    clip = CLIPModel(config)
    clip.text_model.load_state_dict(clip_network().state_dict())
    for parameter in clip.vision_model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    clip.save_pretrained(path)
    clip_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> CLIPModel:
    """The folder is the one to be used, and its weights count as the published ones."""
    monkeypatch.setenv(VARIABLE, str(folder))
    monkeypatch.setattr(module, "SHA256", file_sha256(folder / "model.safetensors"))
    return CLIPModel.from_pretrained(folder).eval()


def by_transformers(clip: CLIPModel, images: torch.Tensor, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of images uint8 [N,3,H,W] and of texts, as transformers' own functions give them, with a mask."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    tokens = clip_tokenizer()(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        of_images = clip.get_image_features((resized(images, 32) / 255 - mean) / std).pooler_output
        return of_images, clip.get_text_features(**tokens).pooler_output


def test_embeddings_are_transformers(published: CLIPModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 70 images in chunks and of texts, one of them too long: texts max-abs 1e-5, images within 1 % of their deviation,
    since a few levels differ from Pillow's by one; a grey image is one of three equal channels.

    Catches: states before the projection, another token's state than the end's, batches that come in another order,
    and weights of 1.7 GB that are hashed again for every set of images.
    """
    images = torch.randint(0, 256, (70, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pair = clip_pair()
    assert pair is not None
    of_images, of_texts = by_transformers(published, images, TEXTS)
    assert (pair.of_texts(TEXTS, CPU) - of_texts).abs().max().item() < 1e-5
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert (pair.of_images(images.split(40), CPU) - of_images).abs().max() < 0.01 * of_images.std()
    grey = images[:3, :1]
    assert torch.equal(pair.of_images([grey], CPU), pair.of_images([grey.repeat(1, 3, 1, 1)], CPU))
    assert of_texts.std() > 0.1
    assert of_images.std() > 0.1


def text_cell(project: Path) -> Cell:
    return find_cell(cells_of(load_experiment(str(write_tiny_latent(project))), "cpu"), "text", None)


def test_a_row_on_text_has_its_score(project: Path, published: CLIPModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row's CLIP score is that of its images and of each one's caption by transformers, within 0.1; where the files are
    missing, the same row, of the same key, has none.

    Catches: the caption of another image or class, the class's name for its caption, a key that depends on the machine.
    """
    cell, place = text_cell(project), Workplace(project / "runs", CPU, batch_size=10, progress=False)
    record, _, replicates = cell.compute(place)
    dataset, scores = cell.recipe.build_dataset(), []
    of_class = [captions(dataset)[k * 7 :][:7] for k in range(10)]  # digits: seven captions for each of ten classes
    model = place.model(cell.recipe, cell.protocol.ema)
    for seed in cell.protocol.seeds:
        labels = cell.labels(seed, 0, cell.protocol.n).tolist()
        prompts = [of_class[label][i // 10 % 7] for i, label in enumerate(labels)]
        images = torch.cat(list(cell.samples(model, seed, place).batches())).expand(-1, 3, -1, -1)
        scores.append(torch.cosine_similarity(*by_transformers(published, images, prompts)).clamp(min=0).mean())
    assert len({c for group in of_class for c in group}) == 70
    assert record["metric.clip_score"] == pytest.approx(100 * float(torch.stack(scores).mean()), abs=0.1)
    assert record["version.clip_score"] == 1
    assert replicates is not None
    assert "metric.clip_score" in replicates.values
    folder = os.environ[VARIABLE]
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HF_HUB_CACHE", str(project / "nothing"))
    without = text_cell(project)
    assert without.key == cell.key
    assert "clip_score" not in without.versions()
    with monkeypatch.context() as patch:
        patch.setattr(ClipScore, "version", 2)
        assert text_cell(project).key == cell.key
        patch.setenv(VARIABLE, folder)
        assert text_cell(project).key == cell.key
        assert text_cell(project).changes(record) == {"clip_score": (1, 2)}
    again = without.measured_again(record, place)
    assert again is not None
    assert not [column for column in again.record if "clip_score" in column]


def test_versions_are_those_of_the_metrics_that_a_row_can_have(project: Path) -> None:
    """Rows by digits-cnn lack neither CMMD nor ADM's figures. Catches: "done, without cmmd" for ever."""
    assert not {"cmmd", "adm_precision", "adm_recall"} & text_cell(project).versions().keys()
    assert "kid" in text_cell(project).versions()


def test_other_weights_and_folders_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of another hash by file and hash, a folder that is none by its variable; without both there is no pair.

    Catches: a score of any CLIP under the name of ViT-L/14, a spelling mistake that only leaves the score out.
    """
    monkeypatch.setenv(VARIABLE, str(folder))
    pair = clip_pair()
    assert pair is not None
    with pytest.raises(
        InputError, match=rf"{folder}/model.safetensors has SHA-256 [0-9a-f]+, expected a2bf730a.*{VARIABLE}"
    ):
        pair.of_texts(["a ship"], CPU)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(
        InputError, match=rf"CLIP score: model '{tmp_path}/none' is no folder.*\${VARIABLE} = that folder"
    ):
        clip_pair()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert clip_pair() is None
