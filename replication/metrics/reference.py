"""Features of a reference set, computed once and kept under a key that holds everything they depend on."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.metrics.features_file import Identity, load_features, of_extractor, save_features
from replication.types import InputError


def reference_features(
    images: Tensor,
    extractor: Extractor,
    folder: str | os.PathLike[str],
    *,
    fingerprint: str,
    preprocessing: str = "none",
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Features:
    """Features of the reference images, uint8 [N,C,H,W], from the cache in `folder` or computed and put there.

    `fingerprint` identifies the split the images come from, `preprocessing` what was done to them since (a resize, a
    crop, images left out). A damaged or foreign file is computed anew with a warning: it is the cache's own, nobody
    chose it. Raises RunError where the folder is not writable.
    """
    rest: dict[str, Any] = {
        "dataset": fingerprint,
        "preprocessing": preprocessing,
        "n": len(images),
        "resolution": tuple(images.shape[1:]),
    }
    identity = Identity(**of_extractor(extractor), **rest)
    path = Path(folder) / f"{hashlib.sha256(identity.canonical().encode()).hexdigest()}.safetensors"
    if path.exists():
        try:
            return load_features(path, extractor, **rest)
        except InputError as error:
            warnings.warn(f"{error}; they are computed anew", stacklevel=2)
    features = extractor(images, batch_size, device, progress)
    save_features(path, features, identity)
    return features
