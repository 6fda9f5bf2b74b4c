"""gaussian: images whose pixels are independent draws from N(MEAN, STD^2) in [-1, 1], for which everything is known.

The exact denoiser, the probability-flow ODE and every moment are closed form, so an experiment file can put a trained
network or a sampler beside the truth. The bounds are 5.3 and 8 standard deviations away, and rounding to 256 levels adds
(2/255)^2 / 12 = 5.1e-6 to the variance, which is 0.0225: neither matters before the fourth digit.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from replication.datasets.dataset import Dataset, Split
from replication.pixels import to_levels
from replication.registry import DATASETS

MEAN, STD = 0.2, 0.15  # of a pixel in [-1, 1]
SEED = 20200619


@dataclass(frozen=True)
class Gaussian(Dataset):
    """See the module."""

    computed = True

    def _read(self, split: str) -> Split:
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
