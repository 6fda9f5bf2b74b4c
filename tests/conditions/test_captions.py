"""The fixed captions: several per class, good English, and which image takes which."""

import re

import pytest
import torch

from replication.conditions.captions import caption_numbers, captions
from replication.datasets import small
from replication.registry import CONDITIONS, DATASETS
from replication.types import InputError

NAMES = {"digits": small.NAMES, "cifar10": [(name,) for name in small.CIFAR10_CLASSES]}
CAPTIONED = [name for name in DATASETS.names() if DATASETS.build(name).captions]


def test_digits_and_cifar10_have_captions() -> None:
    assert set(NAMES) <= set(CAPTIONED)


@pytest.mark.parametrize("name", CAPTIONED)
def test_every_class_has_several_captions_of_its_own(name: str) -> None:
    """Catches a template without a place for the name, captions that two classes share, and one class with fewer."""
    dataset = DATASETS.build(name)
    found = captions(dataset)
    per_class, rest = divmod(len(found), len(dataset.classes))
    assert rest == 0
    assert per_class >= 4
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", list(NAMES))
def test_captions_are_in_the_order_of_the_labels(name: str) -> None:
    """Catches names that are not in the order of the dataset's classes, and templates outside of them."""
    dataset = DATASETS.build(name)
    per_class = len(dataset.captions) // len(dataset.classes)
    for k, label in enumerate(dataset.classes):
        assert label in NAMES[name][k]
        of_class = dataset.captions[k * per_class : (k + 1) * per_class]
        assert all(set(caption.split()) & set(NAMES[name][k]) for caption in of_class)


def test_articles_go_by_sound() -> None:
    """Catches `a airplane`, `a 8` and `an one`."""
    found = [caption for name in CAPTIONED for caption in DATASETS.build(name).captions]
    assert {"an airplane", "an automobile", "a ship", "an eight written by hand", "a one written by hand"} <= set(found)
    assert "a small picture of an 8" in found
    for caption in found:
        assert not re.search(r"\ba (?:[aei]|8)|\ban (?![aei8])|\ban one", caption), caption


def test_balanced_labels_meet_every_caption_equally_often() -> None:
    """Catches a template chosen by i % templates, which leaves most captions of a class unused."""
    for name in NAMES:
        dataset = DATASETS.build(name)
        count = len(captions(dataset))
        images = torch.arange(3 * count)
        numbers = caption_numbers(images % len(dataset.classes), images, dataset)
        assert numbers.bincount(minlength=count).tolist() == [3] * count


def test_the_caption_belongs_to_the_class_and_the_number() -> None:
    """i = 95 of class ship takes template 95 // 10 % 8 = 1. Catches class and template exchanged, and the batch's order."""
    cifar10 = DATASETS.build("cifar10")
    (number,) = caption_numbers(torch.tensor([8]), torch.tensor([95]), cifar10).tolist()
    assert captions(cifar10)[number] == "a blurry photo of a ship"
    labels, images = torch.tensor([3, 1, 4, 1]), torch.tensor([7, 70, 700, 7000])
    backwards = caption_numbers(labels.flip(0), images.flip(0), cifar10).flip(0)
    assert torch.equal(caption_numbers(labels, images, cifar10), backwards)


def test_captions_too_many_for_a_table_are_encoded_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same `cond` as from the table. Catches captions in the order of their first use, and one encoded for each image."""
    cifar10, text = DATASETS.build("cifar10"), CONDITIONS.build("text")
    images = torch.arange(500)
    expected = text.of(images % 10, images, cifar10)
    encoded: list[str] = []
    encode = text.encoded
    monkeypatch.setattr(text, "encoded", lambda texts, *rest: encoded.extend(texts) or encode(texts, *rest))
    monkeypatch.setattr("replication.conditions.captions.TABLE", 0)
    assert torch.equal(text.of(images % 10, images, cifar10), expected)
    assert len(encoded) == len(set(encoded)) == len(captions(cifar10))


def test_a_dataset_without_captions_is_refused_by_name() -> None:
    gaussian, text = DATASETS.build("gaussian"), CONDITIONS.build("text")
    of = torch.zeros(1).long()
    for use in (lambda: text.null(gaussian), lambda: text.of(of, of, gaussian), lambda: text.sizes(gaussian)):
        with pytest.raises(InputError, match=f"dataset '{gaussian.name}' has no captions"):
            use()
