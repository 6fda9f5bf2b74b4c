"""Linear layers of transformers, where these spend their time."""

import torch
from torch import Tensor, nn

from replication.layers.on_cpu import Kept, evaluates, is_fixed


class Linear(nn.Linear):
    """PyTorch's own; on the CPU, where nothing is trained, by oneDNN: equal to rounding.

    PyTorch multiplies float32 matrices by MKL there, which takes up to an eighth longer on one processor measured here (AMD
    with AVX-512), and half as long again for two rows. With weights in oneDNN's own order a Xeon takes 0.95 to 0.97 times as
    long, to the bit.
    """

    def __init__(self, c_in: int, c_out: int, bias: bool = True):
        super().__init__(c_in, c_out, bias)
        self.kept = Kept(ordered, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self._by_onednn(x, "none", "") if by_onednn(x) else super().forward(x)

    def activated(self, x: Tensor) -> Tensor:
        """GELU of it, in the form by tanh, in the same pass; only where `by_onednn`."""
        return self._by_onednn(x, "gelu", "tanh")

    def _by_onednn(self, x: Tensor, function: str, form: str) -> Tensor:
        weight = self.kept.of(self.weight) if is_fixed(self.weight) else self.weight
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, self.bias, function, [], form)
        return answer


def by_onednn(x: Tensor) -> bool:
    """Whether the layers are computed so, of these numbers."""
    return evaluates(x) and bool(torch.backends.mkldnn.enabled) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def ordered(weight: Tensor) -> Tensor:
    """As oneDNN multiplies by it, where this PyTorch has that."""
    order = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    return weight if order is None else order(weight)
