"""SiT: DiT's network on the straight line between data and noise, Ma et al. 2024, as its official code has it.

Its network is conditioned on a time that runs from noise to data, from 0 to 1: at our t it is 1 - t, and its velocity is
ours with the sign changed. The network has DiT's 2C channels out, of which the second C are not used.
"""

from torch import Tensor

from replication.dit.model import DiT
from replication.registry import MODELS

T = 1000  # of schedule "flow" by default, which timesteps are in units of


@MODELS.register("sit")
class SiT(DiT):
    """A SiT of any size (Ma et al. 2024), for schedule "flow" and parameterization "velocity"; raises as DiT does.

    `network(x [B,C,H,W], timestep [B], cond Int[B]) -> [B,C,H,W]`.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        patch: int,
        channels: int = 4,
        resolution: int = 32,
        classes: int = 1000,
    ):
        super().__init__(depth, width, heads, patch, channels, resolution, classes)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        return -super().forward(x, 1 - timestep / T, cond)[:, : self.in_channels]


@MODELS.register("sit-xl/2")
def sit_xl_2(channels: int = 4, resolution: int = 32, classes: int = 1000) -> SiT:
    """Depth 28, width 1152, 16 heads, patches of 2: DiT-XL/2's 675M parameters (Ma et al. 2024)."""
    return SiT(28, 1152, 16, 2, channels, resolution, classes)
