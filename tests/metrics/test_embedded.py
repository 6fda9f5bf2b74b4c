"""The extractors whose weights are part of the package: cards, layers, extraction in a stream, input checks."""

import dataclasses
import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset

from replication.datasets.archived import read_copy
from replication.datasets.dataset import Split
from replication.metrics import extractor as module
from replication.metrics.metric import metrics
from replication.metrics.training import TRAININGS, card
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

NAMES = sorted(TRAININGS)
COPY = Path(__file__).parents[2] / "../shared/data/cifar10"
WIDTHS = {  # of the layers
    "cifar10-resnet": {"values": 256, "logits": 10, "spatial": 7 * 7 * 7},
    "digits-cnn": {"values": 64, "logits": 10, "spatial": 4 * 4 * 7},
}


class Images(Dataset[torch.Tensor]):
    """40 random uint8 images of the extractor's shape, below `brightest`."""

    def __init__(self, name: str, brightest: int):
        shape = (40, *EXTRACTORS.build(name).shape)
        self.images = torch.randint(brightest, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def kid(a: torch.Tensor, b: torch.Tensor) -> float:
    """Unbiased squared MMD of features [N,D] under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018)."""

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.double() @ y.double().T / x.shape[1] + 1) ** 3

    def off_diagonal(x: torch.Tensor) -> torch.Tensor:
        within = kernel(x, x)
        return (within.sum() - within.trace()) / (len(x) * (len(x) - 1))

    return float(off_diagonal(a) + off_diagonal(b) - 2 * kernel(a, b).mean())


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_pinned(name: str) -> None:
    """The shipped file is under 3 MB and has the pinned hash. Catches: new weights under an old hash."""
    extractor = EXTRACTORS.build(name)
    content = extractor.path.read_bytes()
    assert len(content) < 3e6
    assert hashlib.sha256(content).hexdigest() == extractor.sha256


@pytest.mark.parametrize("name", NAMES)
def test_card_is_the_trainings(name: str) -> None:
    """The shipped card, word for word, is what the training writes for the accuracy on it. Catches: a training, a network
    or a dataset that was changed without a new training."""
    extractor, training = EXTRACTORS.build(name), TRAININGS[name]
    shipped = extractor.path.with_suffix(".md").read_text()
    correct = int(re.search(r"% \(([\d,]+) of n =", shipped)[1].replace(",", ""))
    dataset = DATASETS.build(extractor.classifies)
    seen, test = (
        SimpleNamespace(labels=range(dataset.sizes[split]), fingerprint=dataset.fingerprints[split])
        for split in ("train", "test")
    )
    assert card(shipped, training, seen, test, correct, extractor.sha256) == shipped
    bare = re.sub(
        r"(?m)^\| (parameters|training data|length|test accuracy|test data|SHA-256) \|.*$", r"| \1 | |", shipped
    )
    assert bare != shipped
    assert card(bare, training, seen, test, correct, extractor.sha256) == shipped


def test_cards_state_the_optimisers() -> None:
    """The rows that are written by hand hold the optimisers' numbers. Catches: a learning rate changed beside its card."""
    for name, training in TRAININGS.items():
        text = EXTRACTORS.build(name).path.with_suffix(".md").read_text()
        optimiser = re.search(r"\| optimiser \| (.*) \|", text)[1]
        model = EXTRACTORS.build(name).classifier()
        group = training.optimizer(model, 10)[0].param_groups[0]
        assert f"{group['initial_lr']:g}" in optimiser
        assert f"weight decay {group['weight_decay']:g}" in optimiser
        assert f"momentum {group['momentum']:g}" in optimiser if "momentum" in group else "AdamW" in optimiser
        assert f"smoothing {training.smoothing:g}" in text if training.smoothing else "smoothing" not in text


@pytest.mark.parametrize("name", NAMES)
def test_tampered_weights_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit changed in the weights, or no file: InputError naming the file, from `ensure` and from extraction.
    Catches: the hash computed but not compared."""
    extractor = EXTRACTORS.build(name)
    content = bytearray(extractor.path.read_bytes())
    content[-5] ^= 1
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    extractor.path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{extractor.path} has SHA-256 {hashlib.sha256(content).hexdigest()}"):
        extractor.ensure()
    with pytest.raises(InputError, match="expected"):
        extractor(Images(name, 256).images)
    extractor.path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        extractor.ensure()


@pytest.mark.parametrize("name", NAMES)
def test_torch_fidelity_computes_the_same(name: str, plugged_in: None) -> None:
    """KID and IS that torch-fidelity computes from images with this extractor plugged in are those of our features, 1e-5
    relative. Catches: layers exchanged, images prepared otherwise, batches in another order."""
    first, second = Images(name, 256), Images(name, 100)
    theirs = torch_fidelity.calculate_metrics(
        **{"input1": first, "input2": second, "feature_extractor": name, "kid": True, "isc": True},
        **{"kid_subsets": 1, "kid_subset_size": len(first), "isc_splits": 1, "batch_size": 16},
        **{"cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True},
    )
    extractor = EXTRACTORS.build(name)
    ours, other = extractor(first.images), extractor(second.images)
    assert theirs[torch_fidelity.KEY_METRIC_KID_MEAN] == pytest.approx(kid(ours.values, other.values), rel=1e-5)
    p = ours.logits.double().softmax(1)
    score = (p * (p.log() - p.mean(0, keepdim=True).log())).sum(1).mean().exp().item()
    assert theirs[torch_fidelity.KEY_METRIC_ISC_MEAN] == pytest.approx(score, rel=1e-5)


@pytest.fixture(scope="module")
def held_out() -> Split:
    """CIFAR-10's test split, where the checkout has a copy beside it."""
    if not any(COPY.glob("*.parquet")):
        pytest.skip("no copy of CIFAR-10 in ../shared/data/cifar10")
    cifar10 = DATASETS.build("cifar10")
    alone = dataclasses.replace(cifar10, fingerprints={"test": cifar10.fingerprints["test"]})
    return Split.of(*read_copy(COPY, alone)["test"])


def test_card_of_cifar10_says_what_is_true(held_out: Split) -> None:
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


def test_card_of_digits_says_what_is_true() -> None:
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


@pytest.mark.parametrize("name", NAMES)
def test_extraction_in_batches_and_streams(name: str) -> None:
    """Features are in the images' order whatever the batch size, and whether images come whole or as a stream of
    chunks; max-abs 1e-4. Catches: a layer read before pooling, a dropped last batch, batch statistics in place of stored ones."""
    images, extractor = Images(name, 256).images, EXTRACTORS.build(name)
    whole = extractor(images).parts()
    assert {part: list(rows.shape) for part, rows in whole.items()} == {
        part: [len(images), width] for part, width in WIDTHS[name].items()
    }
    others = [
        extractor(images, batch_size=7),
        extractor(iter(images.split(13)), batch_size=6, total=len(images)),
        extractor(iter(images.split(13)), total=len(images)),
    ]
    for other in others:
        for part, rows in other.parts().items():
            assert (rows - whole[part]).abs().max().item() < 1e-4


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
    ("name", "images", "message"),
    [
        ("digits-cnn", torch.zeros(2, 1, 8, 8), "uint8"),
        ("digits-cnn", torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"\[N,1,8,8\]"),
        ("digits-cnn", torch.zeros(8, 8, dtype=torch.uint8), r"\[N,C,H,W\]"),
        ("digits-cnn", iter([]), "no images"),
        (
            "cifar10-resnet",
            torch.zeros(2, 1, 32, 32, dtype=torch.uint8),
            r"takes images \[N,3,32,32\], got \[2, 1, 32, 32\]",
        ),
        (
            "cifar10-resnet",
            torch.zeros(2, 3, 64, 64, dtype=torch.uint8),
            r"takes images \[N,3,32,32\], got \[2, 3, 64, 64\]",
        ),
    ],
)
def test_wrong_images_are_refused(name: str, images: torch.Tensor, message: str) -> None:
    """Floats, other channels, another size, a missing axis, nothing at all. Catches: floats in [0, 1] read as black images in
    silence, and images that are resized or repeated, which would be another metric."""
    with pytest.raises(InputError, match=message):
        EXTRACTORS.build(name)(images)
