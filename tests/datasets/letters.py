"""A dataset that is published as an archive, in the one file that it takes to add it."""

from replication.datasets.archived import Archived
from replication.download import Remote

RECORDS = {"train": ("train.bin",), "test": ("test.bin",)}


def letters(as_images: bool = False) -> Archived:
    """6x6 grey letters, as records of two label bytes (the alphabet, then the letter) or as PNG files."""
    return Archived(
        name="letters",
        channels=1,
        resolution=6,
        classes=("a", "b", "c"),
        flip=False,
        sizes={"train": 20, "test": 4},
        fingerprints={
            "train": "0" * 64,  # until `replicate data add` has stated them
            "test": "0" * 64,
        },
        remote=Remote("https://example.org/letters.zip", "0" * 64),
        records={} if as_images else RECORDS,
        labels=2,
    )
