"""The extractor of 32x32 colour images: its accuracy, its layers, its input checks."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from replication.datasets.archived import read_copy
from replication.datasets.dataset import Split
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

COPY = Path(__file__).parents[2] / "../shared/data/cifar10"


@pytest.fixture(scope="module")
def held_out() -> Split:
    """CIFAR-10's test split, where the checkout has a copy beside it."""
    if not any(COPY.glob("*.parquet")):
        pytest.skip("no copy of CIFAR-10 in ../shared/data/cifar10")
    cifar10 = DATASETS.build("cifar10")
    alone = dataclasses.replace(cifar10, fingerprints={"test": cifar10.fingerprints["test"]})
    return Split.of(*read_copy(COPY, alone)["test"])


def test_card_says_what_is_true(held_out: Split) -> None:
    """The accuracy on the card is 90 % or more, and 2,000 of the test images agree with it within 2.5 points (four
    standard errors); fingerprints are CIFAR-10's; the values are standardised, so that their variance over those
    images is 1 within 15 %.

    Catches: weights of another network, swapped channels, another scale of pixels, batch statistics in place of the
    stored ones, features of a size that KID's kernel cannot balance.
    """
    extractor, cifar10 = EXTRACTORS.build("cifar10-resnet"), DATASETS.build("cifar10")
    card = extractor.path.with_suffix(".md").read_text()
    assert held_out.fingerprint == cifar10.fingerprints["test"]
    assert all(fingerprint in card for fingerprint in cifar10.fingerprints.values())
    said = re.search(r"test accuracy \| ([\d.]+) % \(([\d,]+) of n = 10,000\), 95 % interval [\d.]+ to [\d.]+ %", card)
    assert said is not None
    assert float(said[1]) == pytest.approx(int(said[2].replace(",", "")) / 100)
    assert float(said[1]) >= 90
    features = extractor(held_out.images[::5])
    accuracy = (features.logits.argmax(1) == held_out.labels[::5]).double().mean().item()
    assert 100 * accuracy == pytest.approx(float(said[1]), abs=2.5)
    assert features.values.var(0).mean().item() == pytest.approx(1, abs=0.15)
    assert features.values.mean().item() == pytest.approx(0, abs=0.1)


def test_layers_and_batches() -> None:
    """Shapes of the layers; features do not depend on the batch size, max-abs 1e-4. Catches: a layer read before
    pooling, a dropped last batch."""
    images = torch.randint(256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    extractor = EXTRACTORS.build("cifar10-resnet")
    whole = extractor(images).parts()
    assert {name: list(part.shape) for name, part in whole.items()} == {
        "values": [20, 256],
        "logits": [20, 10],
        "spatial": [20, 7 * 7 * 7],
    }
    for name, part in extractor(images, batch_size=7).parts().items():
        assert (part - whole[name]).abs().max().item() < 1e-4


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 32, 32), "uint8"),
        (torch.zeros(2, 1, 32, 32, dtype=torch.uint8), r"takes images \[N,3,32,32\], got \[2, 1, 32, 32\]"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), r"takes images \[N,3,32,32\], got \[2, 3, 64, 64\]"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), r"\[N,C,H,W\]"),
    ],
)
def test_wrong_images_are_refused(images: torch.Tensor, message: str) -> None:
    """Floats, grey images, another size, a missing axis. Catches: images that are resized or repeated in silence,
    which would be another metric."""
    with pytest.raises(InputError, match=message):
        EXTRACTORS.build("cifar10-resnet")(images)
