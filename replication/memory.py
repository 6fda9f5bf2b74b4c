"""What an error says when memory ran out, and the device's memory given back. Torch is imported only where it is needed."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SAYINGS = ("out of memory", "allocate memory", "ALLOC_FAILED")  # of CUDA, torch's allocator on the CPU, and cuBLAS


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what the error is."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(saying in str(error) for saying in SAYINGS))


def free_memory(device: torch.device) -> None:
    """What nothing refers to any more is given back to the device."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
