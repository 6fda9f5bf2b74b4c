"""digits: 1,797 handwritten digits of 8x8 pixels that scikit-learn carries; no download, the default dataset.

scikit-learn publishes no split, so this one is defined here: of all examples in canonical order, every fifth is test.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from replication.datasets.dataset import Dataset, Split, captions
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


@dataclass(frozen=True)
class Digits(Dataset):
    """See the module."""

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
