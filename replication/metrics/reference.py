"""Features of a reference set, computed once and kept under a key that holds everything they depend on."""

import hashlib
import os
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from replication.files import replaced
from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.settings import canonical_json
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
    identity = canonical_json(
        {
            "extractor": extractor.name,
            "version": extractor.version,
            "weights": extractor.sha256,
            "layers": list(extractor.layers),
            "dataset": fingerprint,
            "preprocessing": preprocessing,
            "n": len(images),
            "resolution": list(images.shape[1:]),
        }
    )
    path = Path(folder) / f"{hashlib.sha256(identity.encode()).hexdigest()}.safetensors"
    if path.exists():
        try:
            return _read(path, identity)
        except (SafetensorError, OSError, ValueError, TypeError, InputError) as error:
            warnings.warn(f"features file {path}: {error}; they are computed anew", stacklevel=2)
    features = extractor(images, batch_size, device, progress)
    _write(path, features, identity)
    return features


def _write(path: Path, features: Features, identity: str) -> None:
    """Atomically, without a second copy in memory."""
    with replaced(path) as partial:
        try:
            save_file(features.parts(), partial, {"identity": identity, "content": _digest(features)})
        except SafetensorError as error:  # what the library makes of an OSError
            raise OSError(str(error)) from error


def _read(path: Path, identity: str) -> Features:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("identity") != identity:
            raise ValueError("it was made from something else")
        features = Features(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    if metadata.get("content") != _digest(features):
        raise ValueError(
            "its content does not match its own SHA-256"
        )  # a flipped bit, which safetensors does not notice
    return features


def _digest(features: Features) -> str:
    content = hashlib.sha256()
    for name, part in features.parts().items():
        content.update(repr((name, str(part.dtype), tuple(part.shape))).encode())
        content.update(part.numpy().data)
    return content.hexdigest()
