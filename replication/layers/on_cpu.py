"""Layers that are quicker on the CPU where nothing is trained: when that is so, and what they keep of their weights for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode


def evaluates(x: Tensor) -> bool:
    """Whether x is computed with as float32 on the CPU, without a gradient; nothing compiled, counted, or a shape alone."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return _get_current_dispatch_mode() is None and not torch.is_autocast_enabled("cpu")


def is_fixed(weight: Tensor) -> bool:
    """Whether the weight is not in training, and says by its version when it changes; PyTorch's fused optimisers do not say."""
    return not (weight.requires_grad or weight.is_inference())


class Kept:
    """What `make` makes of a fixed weight, kept until the weight changes, but for changes in place of its `.data`.

    A copy of the layer that it is in keeps nothing yet. size: of what is made, as a multiple of the weight's.
    """

    def __init__(self, make: Callable[[Tensor], Tensor], size: float):
        self.make, self.size = make, size
        self._known: tuple[Tensor, int, Tensor] | None = None  # the weight, its version, and what was made of it

    def of(self, weight: Tensor) -> Tensor:
        """The weight is kept too, so that no other comes to lie where it was."""
        weight, version = weight.detach(), weight._version
        if self._known is None or (self._known[0].data_ptr(), self._known[1]) != (weight.data_ptr(), version):
            self._known = weight, version, self.make(weight)
        return self._known[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.make, self.size)


def kept_bytes(network: nn.Module) -> int:
    """Of all that the layers of a network keep in evaluations on the CPU."""
    layers = ((getattr(m, "kept", None), getattr(m, "weight", None)) for m in network.modules())
    return sum(round(k.size * w.nbytes) for k, w in layers if isinstance(k, Kept) and isinstance(w, Tensor))
