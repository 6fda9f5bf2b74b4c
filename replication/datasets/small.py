"""Small sets: `digits`, the default one, in scikit-learn; `gaussian`, computed; `cifar10`, downloaded or added from a copy."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from replication.datasets.archived import Archived
from replication.datasets.dataset import Dataset, Split, captions
from replication.download import Remote
from replication.pixels import to_levels
from replication.registry import DATASETS

NAMES = tuple(
    zip(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], "0123456789", strict=True)
)
TEMPLATES = (
    "the digit {0}",
    "a handwritten {1}",
    "{a0} written by hand",
    "the number {1}",
    "a scan of the handwritten digit {0}",
    "a small picture of {a1}",
    "{1}",
    "{0}",
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_TEMPLATES = (
    "a photo of {a0}",
    "a blurry photo of {a0}",
    "a small picture of {a0}",
    "{a0}",
    "a color photo of {a0}",
    "a low resolution photo of {a0}",
    "a picture that shows {a0}",
    "{0}",
)
MEAN, STD = 0.2, 0.15  # of a pixel in [-1, 1]
SEED = 20200619


@dataclass(frozen=True)
class Digits(Dataset):
    """Handwritten digits that scikit-learn carries.

    It publishes no split, so this one is defined here: of all examples in canonical order, every fifth is test.
    """

    origin = "embedded in scikit-learn"

    def _read(self, split: str) -> Split:
        table = _table()
        # 17 grey levels 0..16 onto 0..255; only level 8 is halfway (127.5), and it goes to the even 128.
        grey = np.round(table[:, :-1].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
        whole = Split.of(grey[..., None], table[:, -1].astype(int))
        chosen = (np.arange(len(whole.labels)) % 5 == 4) == (split == "test")
        return Split.of(whole.images.numpy()[chosen].transpose(0, 2, 3, 1), whole.labels.numpy()[chosen])


@cache
def _table() -> np.ndarray:
    """[N,65]: 64 grey levels and the label; of the file that load_digits reads. To import that would take scikit-learn's
    second, and scipy.stats'."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")


CAPTIONS = captions(NAMES, TEMPLATES)  # once: a sweep builds the dataset for every cell


@DATASETS.register("digits")
def digits() -> Digits:
    """1,797 digits, 8x8 grey, from scikit-learn (Alpaydin and Kaynak 1998); flips off: a mirrored digit is none."""
    return Digits(
        name="digits",
        channels=1,
        resolution=8,
        classes=tuple("0123456789"),
        flip=False,
        sizes={"train": 1438, "test": 359},
        captions=CAPTIONS,
        fingerprints={
            "train": "2faa041290aa80f13f2b206abce657af149f52cac99fbe36f3e0b4712f7c423a",
            "test": "1436597a95dba9e78b936fb636c573d669cd089965e5f05fc3af404e06dc944c",
        },
    )


@dataclass(frozen=True)
class Gaussian(Dataset):
    """Pixels that are independent draws from N(MEAN, STD^2) in [-1, 1], for which everything is known.

    The exact denoiser, the probability-flow ODE and every moment are closed form, so an experiment file can put a trained
    network or a sampler beside the truth. The bounds are 5.3 and 8 standard deviations away, and rounding to 256 levels adds
    (2/255)^2 / 12 = 5.1e-6 to the variance, which is 0.0225: neither matters before the fourth digit.
    """

    computed = True

    def _read(self, split: str) -> Split:
        from scipy.special import ndtri  # slow to import, and seldom needed

        shape = (sum(self.sizes.values()), self.resolution, self.resolution, self.channels)
        # The raw stream of a bit generator never changes, while the normals that numpy makes of it may.
        raw = np.random.PCG64(SEED).random_raw(int(np.prod(shape))) >> np.uint64(11)
        normal = ndtri((raw + 0.5) * 2.0**-53).reshape(shape)
        images = np.rint(to_levels(MEAN + STD * normal)).clip(0, 255).astype(np.uint8)  # [N,H,W,C]
        train = self.sizes["train"]
        chosen = images[:train] if split == "train" else images[train:]
        return Split.of(chosen, np.zeros(len(chosen)))


@DATASETS.register("gaussian")
def gaussian() -> Gaussian:
    """Independent Gaussian pixels, 8x8 grey, of which everything is known; a mirrored image is another draw."""
    return Gaussian(
        name="gaussian",
        channels=1,
        resolution=8,
        classes=("gaussian",),
        flip=True,
        sizes={"train": 4096, "test": 1024},
        fingerprints={
            "train": "f68a8d7f77db14f0e8939593ae18279e13316bc0f73d2e385d55599c3d38ffe2",
            "test": "29acb8bc454a5474cb23299a33bb8b0da22a326d3ed5137b4a3b3cec49045322",
        },
    )


@DATASETS.register("cifar10")
def cifar10() -> Archived:
    """60,000 photographs of 10 classes, 32x32 RGB, downloaded without pickles (Krizhevsky 2009)."""
    return Archived(
        name="cifar10",
        channels=3,
        resolution=32,
        classes=CIFAR10_CLASSES,
        captions=captions([(name,) for name in CIFAR10_CLASSES], CIFAR10_TEMPLATES),
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
