"""Features of a reference set, computed once and kept under a key that holds everything they depend on."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.settings import content_key
from replication.types import InputError


class Batches(Protocol):
    """Images that are read as they are needed, and not at all where their features are known."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""

    @property
    def batches(self) -> Callable[[], Iterator[Tensor]]:
        """What gives them in order, uint8 [B,C,H,W]."""


def reference_features(
    images: Tensor | Batches,
    extractor: Extractor,
    folder: str | os.PathLike[str],
    *,
    fingerprint: str,
    preprocessing: str = "none",
    device: str | torch.device = "cpu",
) -> Features:
    """Features of the reference images, uint8 [N,C,H,W], from the cache in `folder` or computed and put there.

    `fingerprint` identifies the split the images come from, `preprocessing` what was done to them since (a resize, a
    crop, images left out). A damaged or foreign file is computed anew with a warning: it is the cache's own, nobody
    chose it. Raises RunError where the folder is not writable.
    """
    identity = {
        "extractor": extractor.name,
        "version": extractor.version,
        "weights": extractor.sha256,
        "layers": list(extractor.layers),
        "dataset": fingerprint,
        "preprocessing": preprocessing,
        "n": images.shape[0],
        "resolution": list(images.shape[1:]),
    }
    path = Path(folder) / f"{content_key(identity)}.safetensors"
    if path.exists():
        try:
            parts, metadata = load_checkpoint(path)
            if metadata == {"identity": identity}:
                return Features(**parts, extractor=extractor.name)
        except (InputError, TypeError):
            pass
        warnings.warn(f"features file {path}: damaged, or of something else; they are computed anew", stacklevel=2)
    read = images if isinstance(images, Tensor) else images.batches()
    features = extractor(read, device=device, total=images.shape[0])
    save_checkpoint(path, features.parts(), {"identity": identity})
    return features
