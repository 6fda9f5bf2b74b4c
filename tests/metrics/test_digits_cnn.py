"""The embedded extractor: its weights, its card, its training, its input checks."""

import hashlib
from pathlib import Path

import pytest
import torch

from replication.metrics import train_digits_cnn
from replication.metrics.extractors import digits_cnn
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


def test_card_says_what_is_true() -> None:
    """The test accuracy, hash and dataset fingerprints on the card are those measured now; the accuracy is 98 % or
    more.

    Catches: weights replaced without a new card, another split, a changed preprocessing.
    """
    digits = DATASETS.build("digits")
    training, test = digits.load("train"), digits.load("test")
    card = digits_cnn.WEIGHTS.with_suffix(".md").read_text()
    correct = int((EXTRACTORS.build("digits-cnn")(test.images).logits.argmax(1) == test.labels).sum())
    assert correct / len(test.labels) >= 0.98
    assert f"{correct} of n = {len(test.labels)}" in card
    assert digits_cnn.SHA256 in card
    assert training.fingerprint in card
    assert test.fingerprint in card
    assert digits_cnn.WEIGHTS.stat().st_size < 1e6


def test_tampered_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit changed in the weights, or no file: InputError naming the file, from `ensure` and from extraction.
    Catches: the hash computed but not compared."""
    content = bytearray(digits_cnn.WEIGHTS.read_bytes())
    content[-5] ^= 1
    tampered = tmp_path / "digits-cnn.safetensors"
    tampered.write_bytes(content)
    monkeypatch.setattr(digits_cnn, "WEIGHTS", tampered)
    extractor = EXTRACTORS.build("digits-cnn")
    with pytest.raises(InputError, match=rf"{tampered} has SHA-256 {hashlib.sha256(content).hexdigest()}"):
        extractor.ensure()
    with pytest.raises(InputError, match="expected"):
        extractor(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    tampered.unlink()
    with pytest.raises(InputError, match="cannot read"):
        extractor.ensure()


def test_extraction_in_batches_and_streams() -> None:
    """Features are in the images' order whatever the batch size, and whether images come whole or as a stream of
    chunks; max-abs 1e-4. Catches: a dropped last batch, batch statistics used in place of the stored ones."""
    images = DATASETS.build("digits").load("test").images[:100]
    extractor = EXTRACTORS.build("digits-cnn")
    whole = extractor(images).parts()
    assert {name: list(part.shape) for name, part in whole.items()} == {
        "values": [100, 64],
        "logits": [100, 10],
        "spatial": [100, 4 * 4 * 7],
    }
    others = [
        extractor(images, batch_size=7),
        extractor(iter(images.split(33)), batch_size=16),
        extractor(iter(images.split(33)), total=100),
    ]
    for other in others:
        for name, part in other.parts().items():
            assert (part - whole[name]).abs().max().item() < 1e-4


@pytest.mark.parametrize(("total", "given"), [(101, "100"), (60, "66 or more")])
def test_a_stream_of_another_length_is_refused(total: int, given: str) -> None:
    """Fewer images than were announced (a truncated set), or more. Catches: features of unwritten memory, a silently
    shorter set."""
    images = DATASETS.build("digits").load("test").images[:100]
    with pytest.raises(InputError, match=f"told of {total} images and given {given}$"):
        EXTRACTORS.build("digits-cnn")(iter(images.split(33)), total=total)


def test_labels_carry_the_extractors_name() -> None:
    """Nothing measured with it is called FID. Catches: FID-digits-infinity, a label without the name."""
    labels = EXTRACTORS.build("digits-cnn").labels
    assert {labels[key] for key in ("fd", "sfd", "fd_infinity")} == {"FD-digits", "sFD-digits", "FD-digits-infinity"}
    assert all("digits" in label and "FID" not in label for label in labels.values())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, 8, 8), "uint8"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"\[N,1,8,8\]"),
        (torch.zeros(8, 8, dtype=torch.uint8), r"\[N,C,H,W\]"),
        (iter([]), "no images"),
    ],
)
def test_wrong_images_are_refused(images: torch.Tensor, message: str) -> None:
    """Floats, three channels, a missing axis, nothing at all. Catches: floats in [0, 1] silently read as black
    images."""
    with pytest.raises(InputError, match=message):
        EXTRACTORS.build("digits-cnn")(images)


def test_augmentation_moves_by_one_pixel_at_most() -> None:
    """A dot in the middle lands on each of the nine neighbouring places about equally often; dots at the rim fall off.

    Catches: a shift of the whole batch together, wrapping around, a transposed offset that never moves one axis.
    """
    dot = torch.zeros(900, 1, 8, 8, dtype=torch.uint8)
    dot[:, :, 4, 4] = 255
    landed = (train_digits_cnn.shifted(dot, torch.Generator().manual_seed(0)) > 0).sum((0, 1))
    assert landed.sum() == 900
    assert landed[3:6, 3:6].min() > 60
    rim = torch.zeros(900, 1, 8, 8, dtype=torch.uint8)
    rim[:, :, 0, 0] = 255
    assert 350 < (train_digits_cnn.shifted(rim, torch.Generator().manual_seed(0)) > 0).sum() < 450


def test_training_is_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two short trainings give the same bits, and they learn: the loss ends under 1.5 (chance is 2.3). Catches: a
    shuffle or an initialisation drawn from an unseeded generator."""
    monkeypatch.setattr(train_digits_cnn, "EPOCHS", 8)
    split = DATASETS.build("digits").load("train")
    first = train_digits_cnn.train(split.images[:256], split.labels[:256])
    torch.rand(3)
    second = train_digits_cnn.train(split.images[:256], split.labels[:256])
    assert all(a.equal(b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(first(split.images[:256])[1], split.labels[:256])
    assert loss.item() < 1.5
