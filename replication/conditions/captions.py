"""Fixed captions of labelled datasets, for training and sampling text-conditional networks where nobody wrote any.

A class has several captions, made from its name by the dataset's templates. Image number i of class k takes template
(i // K) % templates, for K classes: so balanced labels i % K meet every caption equally often.
"""

from functools import cache

from torch import Tensor

from replication.conditions.condition import LabelledDataset
from replication.registry import unknown

# what class k is called, in up to two ways
NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "digits": (
        ("zero", "0"),
        ("one", "1"),
        ("two", "2"),
        ("three", "3"),
        ("four", "4"),
        ("five", "5"),
        ("six", "6"),
        ("seven", "7"),
        ("eight", "8"),
        ("nine", "9"),
    ),
    "cifar10": (
        ("airplane",),
        ("automobile",),
        ("bird",),
        ("cat",),
        ("deer",),
        ("dog",),
        ("frog",),
        ("horse",),
        ("ship",),
        ("truck",),
    ),
}

# {0} and {1}: the names; {a0} and {a1}: the same with their article
TEMPLATES: dict[str, tuple[str, ...]] = {
    "digits": (
        "the digit {0}",
        "a handwritten {1}",
        "{a0} written by hand",
        "the number {1}",
        "a scan of the handwritten digit {0}",
        "a small picture of {a1}",
        "{1}",
        "{0}",
    ),
    "cifar10": (
        "a photo of {a0}",
        "a blurry photo of {a0}",
        "a small picture of {a0}",
        "{a0}",
        "a color photo of {a0}",
        "a low resolution photo of {a0}",
        "a picture that shows {a0}",
        "{0}",
    ),
}


def captions(dataset: LabelledDataset) -> tuple[str, ...]:
    """Every caption of the dataset, those of one class together. Raises InputError for a dataset that has none."""
    if dataset.name not in NAMES:
        raise unknown("dataset with captions", dataset.name, sorted(NAMES))
    return _of_name(dataset.name)


def caption_numbers(labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
    """Which of `captions(dataset)` the images of labels Int[B] and numbers Int[B] take, Int[B]; raises as it does."""
    classes = len(dataset.classes)
    templates = len(captions(dataset)) // classes
    return labels * templates + (images // classes) % templates


def every_caption() -> tuple[str, ...]:
    """The captions of all datasets, in the order above: whoever adds a dataset adds it at the end."""
    return tuple(caption for name in NAMES for caption in _of_name(name))


@cache  # training asks on every step
def _of_name(dataset: str) -> tuple[str, ...]:
    return tuple(_filled(template, names) for names in NAMES[dataset] for template in TEMPLATES[dataset])


def _filled(template: str, names: tuple[str, ...]) -> str:
    articled = {f"a{i}": f"{_article(name)} {name}" for i, name in enumerate(names)}
    return template.format(*names, **articled)


def _article(name: str) -> str:
    """By sound: an eight, an 8, but a one."""
    return "an" if name[0] in "aeiou8" and name != "one" else "a"
