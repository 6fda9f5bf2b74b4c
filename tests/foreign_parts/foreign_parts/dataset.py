"""Shades: 8x8 images of one grey each, light or dark."""

from dataclasses import dataclass

import numpy as np

from replication.datasets.dataset import Dataset, Split
from replication.registry import DATASETS


@dataclass(frozen=True)
class Shades(Dataset):
    """See the module."""

    def _read(self, split: str) -> Split:
        n = self.sizes[split]
        labels = np.arange(n) % 2
        grey = np.random.PCG64(n).random_raw(n * 64).reshape(n, 8, 8, 1) % np.uint64(64)
        return Split.of((grey + 160 * (1 - labels[:, None, None, None])).astype(np.uint8), labels)


@DATASETS.register("foreign-shades")
def shades() -> Shades:
    """8x8 grey images, light or dark, computed, for tests (2026)."""
    return Shades(
        name="foreign-shades",
        channels=1,
        resolution=8,
        classes=("light", "dark"),
        flip=True,
        sizes={"train": 64, "test": 32},
        fingerprints={
            "train": "31566342c5fb5a6c76852f5dc85b4c3ca954527cadfb3d2270fb1f66d122db11",
            "test": "0ac3a7dc18613d1f33202fc73b227318645d3155f4d97ba0e2df46f05762b3bd",
        },
    )
