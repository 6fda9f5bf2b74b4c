"""What a dataset must declare, and, where its content is on this machine, hold."""

import re
from collections.abc import Iterator

import torch

from replication.check.finding import Finding, holds
from replication.datasets.dataset import Dataset
from replication.types import InputError


def findings(dataset: Dataset) -> Iterator[Finding]:
    """Splits, fingerprints and classes; the images of every split that is here, against its fingerprint."""
    splits = sorted(dataset.sizes)
    yield holds(
        "splits", splits, splits == sorted(dataset.fingerprints) and "train" in splits, "train; sizes and SHA-256s"
    )
    sums = all(re.fullmatch("[0-9a-f]{64}", fingerprint) for fingerprint in dataset.fingerprints.values())
    yield holds("fingerprints", "SHA-256" if sums else dict(dataset.fingerprints), sums, "64 hexadecimal digits each")
    distinct = 0 < len(set(dataset.classes)) == len(dataset.classes)
    yield holds("classes", len(dataset.classes), distinct, "one or more, distinct")
    if not dataset.present():
        yield holds("content", "not on this machine: not checked", True, "any")
        return
    for name in splits:
        try:
            split = dataset.load(name)
        except InputError as error:
            yield holds(f"{name}: content", error, False, "what its fingerprint is of")
            continue
        images, labels = split.images, split.labels
        found = f"{images.dtype}{list(images.shape)}".removeprefix("torch.")
        fits = images.dtype == torch.uint8 and tuple(images.shape) == (dataset.sizes[name], *dataset.shape)
        yield holds(
            f"{name}: images", found, fits, f"uint8[{dataset.sizes[name]}, {', '.join(map(str, dataset.shape))}]"
        )
        ends = (int(labels.min()), int(labels.max()))
        yield holds(f"{name}: labels", ends, ends[0] >= 0 and ends[1] < len(dataset.classes), "one of the classes each")
