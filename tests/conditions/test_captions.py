"""The fixed captions: several per class, good English, and which image takes which."""

import re

import pytest
import torch

from replication.conditions.captions import NAMES, TEMPLATES, caption_numbers, captions, every_caption
from replication.registry import CONDITIONS, DATASETS
from replication.types import InputError

CAPTIONED = ["digits", "cifar10"]


@pytest.mark.parametrize("name", CAPTIONED)
def test_every_class_has_several_captions_of_its_own(name: str) -> None:
    """Catches a template without a place for the name, and a caption that two classes share."""
    dataset = DATASETS.build(name)
    found = captions(dataset)
    assert len(set(found)) == len(found) == len(dataset.classes) * len(TEMPLATES[name])
    assert len(TEMPLATES[name]) >= 4
    for k, label in enumerate(dataset.classes):
        assert label in NAMES[name][k], "the names are not in the order of the dataset's labels"
        of_class = found[k * len(TEMPLATES[name]) : (k + 1) * len(TEMPLATES[name])]
        assert all(set(caption.split()) & set(NAMES[name][k]) for caption in of_class)


def test_articles_go_by_sound() -> None:
    """Catches `a airplane`, `a 8` and `an one`."""
    found = every_caption()
    assert {"an airplane", "an automobile", "a ship", "an eight written by hand", "a one written by hand"} <= set(found)
    assert "a small picture of an 8" in found
    for caption in found:
        assert not re.search(r"\ba (?:[aei]|8)|\ban (?![aei8])|\ban one", caption), caption


def test_balanced_labels_meet_every_caption_equally_often() -> None:
    """Catches a template chosen by i % templates, which leaves most captions of a class unsaid."""
    for name in CAPTIONED:
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


def test_a_dataset_without_captions_is_refused_by_name() -> None:
    gaussian, text = DATASETS.build("gaussian"), CONDITIONS.build("text")
    for said in (lambda: text.null(gaussian), lambda: text.of(torch.zeros(1).long(), torch.zeros(1).long(), gaussian)):
        with pytest.raises(InputError, match=f"unknown dataset with captions '{gaussian.name}'.*digits"):
            said()
