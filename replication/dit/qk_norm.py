"""QK-norm: queries and keys of unit size before they meet, so that no logit can grow without bound.

Dehghani et al. 2023 (ViT-22B, arXiv:2302.05442), with RMSNorm per head as Stable Diffusion 3 does (Esser et al. 2024,
section 5.3.2): q / sqrt(mean q^2 + eps), times a learned scale per channel of a head.
"""

from torch import Tensor, nn


class QKNorm(nn.Module):
    """(q, k), each [B,heads,N,width/heads] -> the same shapes; the scales start at 1."""

    def __init__(self, head_width: int):
        super().__init__()
        self.q, self.k = nn.RMSNorm(head_width, eps=1e-6), nn.RMSNorm(head_width, eps=1e-6)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.q(q), self.k(k)
