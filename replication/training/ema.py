"""Exponential moving average of weights, in two conventions.

DDPM's has a constant decay and starts from the weights after the first step (the official decay of 1e-10 there). LDM's
starts from the initial weights, and its decay climbs: after step n it is at most (1 + n) / (10 + n).
"""

import torch
from torch import Tensor, nn


class EMA:
    """`weights` maps parameter names to averaged tensors. decay in [0, 1), 0.9999 in both papers; warmup: LDM's way."""

    def __init__(self, network: nn.Module, decay: float, warmup: bool = False):
        self.decay, self.warmup = decay, warmup
        self.weights: dict[str, Tensor] = {k: p.detach().clone() for k, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After optimiser step number `step`, counted from 1."""
        averaged = list(self.weights.values())
        current = [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(averaged, current, 1 - self._decay(step))

    def _decay(self, step: int) -> float:
        if self.warmup:
            return min(self.decay, (1 + step) / (10 + step))
        return 0.0 if step == 1 else self.decay
