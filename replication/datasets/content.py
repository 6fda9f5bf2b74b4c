"""The content of one split: its examples in canonical order and the fingerprint that identifies them.

A record is `label byte + H*W*C raw bytes`. Records sorted as byte strings are the canonical order, and SHA-256 over all
of them in that order is the fingerprint, so neither depends on the container or on the order that examples came in.
mapped.py states the differences for sets that do not fit in the memory.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset, sorted by content."""

    images: Tensor  # uint8 [N,C,H,W]
    labels: Tensor  # int64 [N]
    fingerprint: str  # SHA-256, 64 hexadecimal digits

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> "Split":
        """Sort `images: uint8 [N,H,W,C]` with `labels: [N]`, each in 0..255, and fingerprint them.

        Examples that are equal in label and pixels are kept, side by side.
        """
        records = _sorted_records(images, labels)
        pixels = records[:, 1:].reshape(images.shape).transpose(0, 3, 1, 2)
        return cls(
            images=torch.from_numpy(np.ascontiguousarray(pixels)),
            labels=torch.from_numpy(records[:, 0].astype(np.int64)),
            fingerprint=hashlib.sha256(records.data).hexdigest(),
        )


def _sorted_records(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Records `uint8 [N, 1+H*W*C]`, sorted as byte strings."""
    records = np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(len(images), -1)], axis=1)
    # A void scalar of the record's length compares byte by byte; an "S" scalar would ignore zeros at the end.
    order = np.argsort(records.view(f"V{records.shape[1]}").ravel(), kind="stable")
    return records[order]
