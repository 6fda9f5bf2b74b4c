"""Features of a reference set, computed once and kept under a key that holds everything they depend on."""

import hashlib
import json
import os
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from replication.files import write_atomically
from replication.metrics.extractor import Extractor
from replication.metrics.features import Features


def reference_identity(images: Tensor, fingerprint: str, preprocessing: str, extractor: Extractor) -> str:
    """Canonical JSON of all that the features of uint8 images [N,C,H,W] depend on; its SHA-256 names the file."""
    parts = {
        "dataset": fingerprint,
        "n": len(images),
        "resolution": list(images.shape[1:]),
        "preprocessing": preprocessing,
        "extractor": extractor.name,
        "version": extractor.version,
        "weights": extractor.sha256,
    }
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def _digest(features: Features) -> str:
    content = hashlib.sha256()
    for tensor in (features.values, features.logits):
        content.update(repr((str(tensor.dtype), tuple(tensor.shape))).encode())
        content.update(tensor.contiguous().numpy().data)
    return content.hexdigest()


def _read(path: Path, identity: str) -> Features:
    """The features in a cache file; raises ValueError where it is damaged or holds something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            features = Features(file.get_tensor("values"), file.get_tensor("logits"))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if metadata.get("identity") != identity:
        raise ValueError(f"it holds {metadata.get('identity')}, wanted {identity}")
    if metadata.get("content") != _digest(features):
        raise ValueError("its content does not match its own SHA-256")
    return features


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
    crop). A damaged or foreign file is computed anew with a warning. Raises RunError where the folder is not writable.
    """
    identity = reference_identity(images, fingerprint, preprocessing, extractor)
    path = Path(folder) / f"{hashlib.sha256(identity.encode()).hexdigest()}.safetensors"
    if path.exists():
        try:
            return _read(path, identity)
        except ValueError as error:
            warnings.warn(f"reference features {path} are computed anew: {error}", stacklevel=2)
    features = extractor(images, batch_size, device, progress)
    tensors = {"values": features.values.contiguous(), "logits": features.logits.contiguous()}
    write_atomically(path, save(tensors, {"identity": identity, "content": _digest(features)}))
    return features
