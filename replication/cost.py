"""What a network costs: multiply-adds, parameters, activation memory, counted in one forward pass of one image.

    multiply-adds   of matrix products, convolutions and attention; norms, activations and sums are not counted, nor are
                    biases. What papers call Gflops are these (in DiT and ADM); a flop counter's number is twice that
    parameters      what is trained
    activations     bytes of the outputs of all leaf modules that compute something (Identity and Dropout do not), in
                    their own dtype; functions between modules, attention's product among them, add nothing. It grows
                    with what training must keep, and is not a measurement of a device

A backward pass costs two forward ones, so a training step costs three per image.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

FORWARDS_PER_STEP = 3
_SILENT = (nn.Identity, nn.Dropout)


@dataclass(frozen=True)
class Cost:
    """Of one image and one forward pass."""

    multiply_adds: int = 0
    parameters: int = 0
    activation_bytes: int = 0

    def training(self, steps: int, batch_size: int) -> int:
        """Multiply-adds of a training run."""
        return FORWARDS_PER_STEP * steps * batch_size * self.multiply_adds

    def image(self, nfe: int) -> int:
        """Multiply-adds of a generated image; nfe counts guidance's second evaluation."""
        return nfe * self.multiply_adds


def measured(network: nn.Module, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Cost:
    """Counted in a forward pass of one image x [1,C,H,W]; on the meta device it takes no memory.

    Raises ValueError for a batch of another size.
    """
    if len(x) != 1:
        raise ValueError(f"a cost is that of one image, not of {len(x)}")
    seen = 0

    def count(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal seen
        seen += output.numel() * output.element_size()

    leaves = [m for m in network.modules() if not [*m.children()] and not isinstance(m, _SILENT)]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x, timestep, cond)
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(counter.get_total_flops() // 2, sum(p.numel() for p in network.parameters() if p.requires_grad), seen)
