"""Prompts of models on labels: the name of a class, or one of its captions."""

import pytest

from replication.conditions.condition import Label
from replication.registry import DATASETS
from replication.types import InputError


@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_every_caption_is_its_class(name: str) -> None:
    """Exact, all captions of all classes. Catches captions that are counted off by one class, and names that no longer do."""
    dataset, label = DATASETS.build(name), Label()
    each = len(dataset.captions) // len(dataset.classes)
    assert label.of_prompts(dataset.captions, dataset).tolist() == [i // each for i in range(len(dataset.captions))]
    assert label.of_prompts(dataset.classes, dataset).tolist() == list(range(len(dataset.classes)))


def test_a_ship_is_the_eighth_class_and_a_submarine_none() -> None:
    dataset = DATASETS.build("cifar10")
    assert Label().of_prompts(["a photo of a ship"], dataset).tolist() == [dataset.classes.index("ship")]
    with pytest.raises(InputError, match="unknown class of cifar10 'a submarine'"):
        Label().of_prompts(["a submarine"], dataset)
