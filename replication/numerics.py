"""Arithmetic precision by name: what float32, tf32 and bf16 mean in a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["float32", "tf32", "bf16"]


@contextmanager
def float32_as(precision: Precision) -> Iterator[None]:
    """How float32 products and convolutions are done: TF32 for tf32, IEEE for the others. Backward passes need it too."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = matmul.fp32_precision, convolution.fp32_precision
    matmul.fp32_precision = convolution.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision, convolution.fp32_precision = before


@contextmanager
def numerics(precision: Precision, device: torch.device) -> Iterator[None]:
    """float32 is IEEE everywhere (PyTorch's own default lets cuDNN use TF32); bf16 is autocast over float32 weights.

    On the CPU tf32 does not exist and means float32.
    """
    with float32_as(precision), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield
