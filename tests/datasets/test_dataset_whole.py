"""Photographs kept whole: what is stored, and which windows trainings cut out of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from photograph_folders import write_photographs
from PIL import Image

from replication.datasets.brought import Brought
from replication.ldm.autoencoder import Autoencoder
from replication.registry import AUTOENCODERS, DATASETS
from replication.training.data import Encoded, images_of
from replication.training.settings import Training
from replication.types import InputError

CPU = torch.device("cpu")


@pytest.fixture
def faces(tmp_path: Path) -> Brought:
    """celebahq at 8x8, and whole with a shorter side of 12."""
    for split, n in (("train", 16), ("test", 10)):
        write_photographs(tmp_path / "copy" / split, n, smallest=12)
    for options in ({"resolution": 8}, {"resolution": 12, "preprocessing": "bilinear, whole"}):
        DATASETS.build("celebahq-256", **options).add(tmp_path / "copy")
    return DATASETS.build("celebahq-256", resolution=8)


def test_photographs_are_stored_in_their_own_shapes(faces: Brought, tmp_path: Path) -> None:
    """The shapes exactly, the content by its SHA-256. Catches a crop, sizes out of order, and a size that no record holds."""
    kept = faces.kept_whole(12)
    whole = kept.photographs("train")
    sizes = [Image.open(file).size for file in sorted((tmp_path / "copy" / "train").rglob("*.*"))]
    shapes = sorted((round(h * 12 / min(w, h)), round(w * 12 / min(w, h))) for w, h in sizes)
    assert sorted(map(tuple, whole.sizes.tolist())) == shapes
    assert len(set(shapes)) > 5
    assert [tuple(whole.image(i).shape) for i in range(16)] == [(3, h, w) for h, w in whole.sizes.tolist()]
    assert kept.verify() == kept.fingerprints
    np.save(kept.folder / "train-sizes.npy", whole.sizes.numpy()[:, ::-1].copy())
    with pytest.raises(InputError, match="its SHA-256 is"):
        kept.verify()


def test_windows_lie_anywhere_and_are_those_of_the_photograph(faces: Brought) -> None:
    """Exact. Catches rows for columns, a window beyond the edge or one that never reaches it, and neighbours' bytes."""
    whole = faces.kept_whole(12).photographs("train")
    ends = torch.tensor([[0.0, 0.0], [1 - 2.0**-24, 1 - 2.0**-24]])
    for i, (h, w) in enumerate(whole.sizes.tolist()):
        first, last = whole.windows(torch.tensor([i, i]), ends, 8)
        assert torch.equal(first, whole.image(i)[:, :8, :8])
        assert torch.equal(last, whole.image(i)[:, h - 8 :, w - 8 :])


@pytest.mark.parametrize("encoded", [False, True], ids=["pixels", "latents"])
def test_each_use_of_an_image_sees_another_window_and_a_step_the_same_again(faces: Brought, encoded: bool) -> None:
    """Catches one place for a whole batch, one that is drawn once, and one that a continued training draws anew."""
    identity: Autoencoder = AUTOENCODERS.build("identity", image_channels=3)
    images = images_of(faces, training(crop=1.5), CPU)
    data = Encoded(images, identity, "none") if encoded else images

    def batch(step: int) -> torch.Tensor:
        torch.manual_seed(step)
        return data.batch(torch.full((6,), 3), flip=False)

    assert batch(0).shape == (6, 3, 8, 8)
    assert torch.equal(batch(0), batch(0))
    assert not torch.equal(batch(0), batch(1))
    assert len({tuple(x.flatten().tolist()) for x in batch(0)}) > 1
    whole = images_of(faces, training(), CPU)
    assert torch.equal(whole.batch(torch.tensor([3]), flip=False), whole.batch(torch.tensor([3]), flip=False))


def training(**changes: object) -> Training:
    settings = {"steps": 1, "batch_size": 2, "learning_rate": 1e-3, "warmup": 0, "ema_decay": 0.0, "flip": False}
    return Training.model_validate({**settings, **changes})


def test_windows_are_part_of_what_a_training_is(faces: Brought) -> None:
    """Catches a crop that no key knows, and keys of trainings without one that it changes."""
    assert training().images(faces) == {"dataset": faces.fingerprints["train"]}
    assert training(crop=1.5).images(faces)["windows"] == faces.kept_whole(12).fingerprints["train"]
    assert training(crop=1.5).identity() == {**training().identity(), "crop": 1.5}


def test_what_windows_cannot_be_cut_from_is_refused_by_name(faces: Brought, tmp_path: Path) -> None:
    """Catches a traceback, and a held-out photograph of the squares that is trained on."""
    with pytest.raises(ValueError, match=r"crop = 0\.75: windows are cut from at least their own side"):
        training(crop=0.75)
    with pytest.raises(InputError, match=r"training\.crop: digits has no photographs of 16 pixels"):
        training(crop=2.0).check(DATASETS.build("digits"))
    with pytest.raises(InputError, match='--set resolution=16 --set preprocessing="bilinear, whole"`'):
        images_of(faces, training(crop=2.0), CPU)
    with pytest.raises(InputError, match=r"has no squares: training\.crop cuts"):
        faces.kept_whole(12).load("train")
    with pytest.raises(InputError, match="celebahq-256 holds squares"):
        faces.photographs("train")
    write_photographs(tmp_path / "one", 20, smallest=12)
    with pytest.raises(InputError, match="has no test/ or val/: what is held out of it would be other photographs"):
        faces.kept_whole(12).add(tmp_path / "one")
