"""The extractor of digits: its card, its layers, extraction in a stream, its input checks."""

import pytest
import torch

from replication.metrics.metric import metrics
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


def test_card_says_what_is_true() -> None:
    """The test accuracy and dataset fingerprints on the card are those measured now; the accuracy is 98 % or more.

    Catches: weights replaced without a new card, another split, a changed preprocessing.
    """
    digits, extractor = DATASETS.build("digits"), EXTRACTORS.build("digits-cnn")
    training, test = digits.load("train"), digits.load("test")
    card = extractor.path.with_suffix(".md").read_text()
    correct = int((extractor(test.images).logits.argmax(1) == test.labels).sum())
    assert correct / len(test.labels) >= 0.98
    assert f"{correct} of n = {len(test.labels)}" in card
    assert training.fingerprint in card
    assert test.fingerprint in card


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
        extractor(iter(images.split(33)), batch_size=16, total=100),
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
    with pytest.raises(InputError, match=f"expects {total} images and was given {given}$"):
        EXTRACTORS.build("digits-cnn")(iter(images.split(33)), total=total)


def test_labels_carry_the_extractors_name() -> None:
    """Nothing measured with it is called FID. Catches: FID-digits-infinity, a label without the name."""
    labels = EXTRACTORS.build("digits-cnn").labels
    assert {labels[key] for key in ("fd", "sfd", "fd_infinity")} == {"FD-digits", "sFD-digits", "FD-digits-infinity"}
    of_features = [labels[metric.name] for metric in metrics() if metric.of_features]
    assert all("digits" in label and "FID" not in label for label in of_features)


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
