"""Exponential moving average of weights, DDPM's: a constant decay, starting from the weights after the first step."""

import torch
from torch import Tensor, nn


class EMA:
    """`weights` maps parameter names to averaged tensors. decay in [0, 1); 0.9999 in the paper."""

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.weights: dict[str, Tensor] = {k: p.detach().clone() for k, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After optimiser step number `step`, counted from 1: the first one copies (the official decay of 1e-10)."""
        averaged = list(self.weights.values())
        current = [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(averaged, current, 1.0 if step == 1 else 1 - self.decay)
