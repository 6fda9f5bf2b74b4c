"""What depends on a reference alone is computed for the first row that is measured against it, and kept while it is."""

import hashlib
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")
LARGEST = 1 << 29  # bytes of one thing that is kept

_KEPT: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def kept(reference: Tensor, key: Hashable, work: Callable[[], T]) -> T:
    """work(), which is a function of the reference and of `key`; it goes with the tensor, and holds no reference to it."""
    of: dict[Hashable, Any] = _KEPT.setdefault(reference, {})
    if key not in of:
        of[key] = work()
    return cast(T, of[key])


def content(counts: Tensor) -> str:
    """SHA-256 of a tensor's bytes, as a part of a key."""
    return hashlib.sha256(counts.cpu().contiguous().numpy().data).hexdigest()
