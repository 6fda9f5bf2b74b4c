"""What depends on a reference alone is computed for the first row that is measured against it, and kept while it is.

Of each kind the last is kept, so that memory does not grow with the numbers of images that rows have.
"""

import hashlib
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")
LARGEST = 1 << 29  # bytes of one thing that is kept

_KEPT: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


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
