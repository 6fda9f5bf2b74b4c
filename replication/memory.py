"""What an error says when memory ran out, and the device's memory given back. Torch is imported only where it is needed."""

from __future__ import annotations

import ctypes
import gc
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GIBIBYTE = 1 << 30
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
SAYINGS = ("out of memory", "allocate memory", "ALLOC_FAILED")  # of CUDA, torch's allocator on the CPU, and cuBLAS


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what the error is."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(saying in str(error) for saying in SAYINGS))


def available_memory() -> float:
    """Bytes that programs may still take here, of the machine or of the container around them; infinite where none says it."""
    found, group = [math.inf], Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with suppress(OSError, ValueError):  # "max" where there is no limit
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        found.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
    return min(found)


def keep_freed_memory() -> None:
    """Let this process keep up to half a gigabyte that it frees, for what it takes next; without GNU's C library, nothing.

    That library gives blocks of a network's size back to the system and takes them again, zeroed page by page, for every
    operation: on one thread and on two, a sixth of the time of a small network.
    """
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_THRESHOLD, GIBIBYTE // 8), (M_TRIM_THRESHOLD, GIBIBYTE // 2), (M_ARENA_MAX, 1)):
            set_option(option, value)


def free_memory(device: torch.device) -> None:
    """What nothing refers to any more is given back to the device."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
