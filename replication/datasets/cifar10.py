"""cifar10: 60,000 colour photographs of 32x32 pixels (Krizhevsky 2009), downloaded once or added from a local copy."""

from replication.datasets.archived import Archived
from replication.datasets.dataset import captions
from replication.download import Remote
from replication.registry import DATASETS

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEMPLATES = (
    "a photo of {a0}",
    "a blurry photo of {a0}",
    "a small picture of {a0}",
    "{a0}",
    "a color photo of {a0}",
    "a low resolution photo of {a0}",
    "a picture that shows {a0}",
    "{0}",
)


@DATASETS.register("cifar10")
def cifar10() -> Archived:
    """60,000 photographs of 10 classes, 32x32 RGB, downloaded without pickles (Krizhevsky 2009)."""
    return Archived(
        name="cifar10",
        channels=3,
        resolution=32,
        classes=CLASSES,
        captions=captions([(name,) for name in CLASSES], TEMPLATES),
        flip=True,
        sizes={"train": 50_000, "test": 10_000},
        fingerprints={
            "train": "a1a3cc9c14a8fd3c0d66de6ab787bbe8abbea0ab10446fa41b395c03644f2b1e",
            "test": "0ae072db3437edb693feba85f2d9dec41036f6e2f6d6f2cbd900da3ee13568b6",
        },
        remote=Remote(
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            size=170_052_171,
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        records={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    )
