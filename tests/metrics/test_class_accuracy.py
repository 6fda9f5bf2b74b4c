"""The share of images that the classifier assigns to the class they were prompted with."""

import pytest
import torch

from replication.metrics import Material, evaluate
from replication.metrics.uncertainty import wilson
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


def class_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    return evaluate(Material(logits=logits, prompted=labels)).columns


def test_counted_by_hand() -> None:
    """Three of four; a batch that is all right has a standard error of 0 and a lower end below 1. Catches: the second
    best class taken, labels compared with the image's index."""
    logits = torch.eye(4)[torch.tensor([2, 0, 1, 3])]
    found = class_accuracy(logits, torch.tensor([2, 0, 1, 0]))
    low, high = wilson(3, 4)
    assert found == pytest.approx(
        {
            "class_accuracy": 0.75,
            "class_accuracy_low": low,
            "class_accuracy_high": high,
            "class_accuracy_se": 0.75**0.5 / 4,
        }
    )
    right = class_accuracy(logits, torch.tensor([2, 0, 1, 3]))
    assert (right["class_accuracy"], right["class_accuracy_se"]) == (1.0, 0.0)
    assert 0.4 < right["class_accuracy_low"] < 1


def test_real_digits_are_the_ceiling() -> None:
    """digits-cnn says which dataset it classifies, and assigns 98 % or more of the real test images to their class.
    Catches: logits over classes in another order."""
    split, extractor = DATASETS.build("digits").load("test"), EXTRACTORS.build("digits-cnn")
    assert extractor.classifies == "digits"
    assert class_accuracy(extractor(split.images).logits, split.labels)["class_accuracy"] >= 0.98


@pytest.mark.parametrize(
    ("labels", "message"),
    [(torch.tensor([0, 1]), r"\[3, 4\] and \[2\]"), (torch.tensor([0, 1, 4]), "labels from 0 to 4, but 4 classes")],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor, message: str) -> None:
    """Another number of labels, a class that there is not. Catches: broadcasting, a silent miss."""
    with pytest.raises(InputError, match=message):
        class_accuracy(torch.zeros(3, 4), labels)
