"""Features on disk: one safetensors file that says what it depends on, and is refused where that is something else."""

import hashlib
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from replication.files import replaced
from replication.metrics.extractor import Extractor
from replication.metrics.features import PARTS, Features
from replication.settings import Settings, canonical_json
from replication.types import InputError


class Identity(Settings):
    """All that features depend on."""

    extractor: str
    version: str
    weights: str  # SHA-256 of the extractor's
    layers: tuple[str, ...]
    dataset: str  # fingerprint of a split, or the key of a sample set
    preprocessing: str  # what was done to its images since: a resize, a crop, "none"
    n: int
    resolution: tuple[int, ...]  # [C,H,W]

    def canonical(self) -> str:
        """Canonical JSON; its SHA-256 serves as a key."""
        return canonical_json(self.model_dump(mode="json"))


def of_extractor(extractor: Extractor) -> dict[str, Any]:
    """The part of an Identity that the extractor says; raises InputError where its weights are absent."""
    return {
        "extractor": extractor.name,
        "version": extractor.version,
        "weights": extractor.sha256,
        "layers": tuple(extractor.layers),
    }


def _digest(features: Features) -> str:
    content = hashlib.sha256()
    for name, part in features.parts().items():
        content.update(repr((name, str(part.dtype), tuple(part.shape))).encode())
        content.update(part.numpy().data)
    return content.hexdigest()


def save_features(path: str | os.PathLike[str], features: Features, identity: Identity) -> None:
    """Atomically, without a second copy in memory. Raises RunError where the place is not writable."""
    on_cpu = Features(**{name: part.cpu().contiguous() for name, part in features.parts().items()})
    with replaced(Path(path)) as partial:
        try:
            save_file(on_cpu.parts(), partial, {"identity": identity.canonical(), "content": _digest(on_cpu)})
        except SafetensorError as error:  # what the library makes of an OSError
            raise OSError(str(error)) from error


def _read(path: Path) -> tuple[Features, Identity]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if not metadata.keys() >= {"identity", "content"}:
            raise ValueError("it is not a features file: it does not say what it was made from")
        identity = Identity.model_validate_json(metadata["identity"])
        parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, part in parts.items():
        if name not in PARTS or str(part.dtype) != "torch.float32":
            raise ValueError(f"it holds {name} in {part.dtype}, expected float32 {', '.join(PARTS)}")
    if "values" not in parts:
        raise ValueError("it holds no values")
    features = Features(**parts)
    if len(features) != identity.n:
        raise ValueError(f"it holds {len(features)} images, but says {identity.n}")
    if metadata["content"] != _digest(features):
        raise ValueError("its content does not match its own SHA-256")
    return features, identity


def load_features(path: str | os.PathLike[str], extractor: Extractor, **expected: Any) -> Features:
    """The features in a file of `save_features`, if this very extractor made them.

    `expected` holds further fields of their Identity, such as dataset, n or resolution. Raises InputError with the
    reason for a file that is absent, truncated, damaged, of another dtype or number, or made from something else.
    """
    path = Path(path)
    try:
        features, identity = _read(path)
    except ValidationError as error:
        raise InputError(f"features file {path}: its identity is not one ({error.errors()[0]['msg']})") from error
    except (SafetensorError, OSError, ValueError, InputError) as error:
        raise InputError(f"features file {path}: {error}") from error
    for key, wanted in (of_extractor(extractor) | expected).items():
        if (found := getattr(identity, key)) != wanted:
            raise InputError(f"features file {path}: its {key} is {found}, wanted {wanted}")
    return features
