"""Features: what an extractor computes of N images, and all that most metrics are made from.

What depends on those of a reference alone is computed for the first row that is measured against it, and kept while it is. Of
each kind the last is kept, so that memory does not grow with the numbers of images that rows have.
"""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from replication.types import InputError

PARTS = ("values", "logits", "spatial")
T = TypeVar("T")
LARGEST = 1 << 29  # bytes of one thing that is kept

_KEPT: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


@dataclass(frozen=True, eq=False)
class Features:
    """float32, one row per image; a part that the extractor does not have is None, and so are the metrics made of it.

    values: [N,D] feed FD, KID, precision, recall, density, coverage and memorisation.
    logits: [N,K] feed the inception score and, over the dataset's classes, class accuracy; DINOv2 and CLIP have none.
    spatial: [N,S], a feature map that was not pooled, feeds sFD (Nash et al. 2021).
    extractor: the name of what computed them; "" where it has none. Some metrics are defined for one extractor only.
    Raises InputError where the parts do not agree in N.
    """

    values: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None
    extractor: str = ""

    def __post_init__(self) -> None:
        for name, part in self.parts().items():
            if part.ndim != 2 or len(part) != len(self.values):
                found = ", ".join(f"{name} {list(p.shape)}" for name, p in self.parts().items())
                raise InputError(f"features: {name} must have two axes, and all parts must agree in N; got {found}")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> "Features":
        return Features(**{name: part[rows] for name, part in self.parts().items()}, extractor=self.extractor)

    def part(self, n: int) -> "Features":
        """n of them, evenly through their order."""
        return kept(self.values, "part", lambda: self[torch.arange(n) * len(self) // n], n)

    def on(self, device: str | torch.device) -> Tensor:
        """The values on a device, of which each has one copy."""
        there = torch.device(device)
        return (
            self.values
            if self.values.device == there
            else kept(self.values, "there", lambda: self.values.to(there), there)
        )

    @property
    def widths(self) -> dict[str, int]:
        return {name: part.shape[1] for name, part in self.parts().items()}

    def parts(self) -> dict[str, Tensor]:
        """The parts that there are, by name, in their order."""
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}


def kept(reference: Tensor, kind: str, work: Callable[[], T], key: Hashable = None) -> T:
    """work(), which is a function of the reference and of `key`; it goes with the tensor, and must not refer to it."""
    of: dict[str, tuple[Hashable, Any]] = _KEPT.setdefault(reference, {})
    if kind not in of or of[kind][0] != key:
        of.pop(kind, None)  # before the next, which may be as large
        of[kind] = key, work()
    return cast(T, of[kind][1])


def content(counts: Tensor) -> str:
    """SHA-256 of a tensor's bytes, as a part of a key."""
    return hashlib.sha256(counts.cpu().contiguous().numpy().data).hexdigest()
