"""Linear layers of transformers, where these spend their time."""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode


class Linear(nn.Linear):
    """PyTorch's own; on the CPU, where nothing is trained, by oneDNN: equal to rounding.

    PyTorch multiplies float32 matrices by MKL there, which takes up to an eighth longer on the processor measured here (AMD
    with AVX-512), and half as long again for two rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self._by_onednn(x, "none", "") if by_onednn(x) else super().forward(x)

    def activated(self, x: Tensor) -> Tensor:
        """GELU of it, in the form by tanh, in the same pass; only where `by_onednn`."""
        return self._by_onednn(x, "gelu", "tanh")

    def _by_onednn(self, x: Tensor, function: str, form: str) -> Tensor:
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, function, [], form)
        return answer


def by_onednn(x: Tensor) -> bool:
    """Whether the layers are computed so, of these numbers; not where operations are counted or their shapes looked at."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if _get_current_dispatch_mode() is not None or torch.is_autocast_enabled("cpu"):
        return False
    return bool(torch.backends.mkldnn.enabled) and hasattr(torch.ops.mkldnn, "_linear_pointwise")
