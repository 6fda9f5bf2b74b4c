"""The exact denoiser of Gaussian data, as a network: what is left of a distance under it is the sampler's own error.

    x_0 ~ N(mean, std^2):  eps = sigma (x_t - alpha mean) / (alpha^2 std^2 + sigma^2)

It belongs to the dataset `gaussian`. Mean and standard deviation are its parameters, so that a checkpoint holds them;
one training step with warm-up has rate 0 and leaves them as they are.
"""

import torch
from torch import Tensor, nn

from replication.registry import MODELS, SCHEDULES
from replication.types import per_image


@MODELS.register("gaussian-oracle")
class GaussianOracle(nn.Module):
    """The exact denoiser of Gaussian data: what remains of a distance is the sampler's own error.

    `network(x [B,C,H,W], timestep [B], cond=None) -> eps [B,C,H,W]` on the named schedule with T steps.
    """

    version = 1

    def __init__(self, schedule: str = "linear", T: int = 1000, mean: float = 0.2, std: float = 0.15):
        super().__init__()
        with torch.device("cpu"):  # tables, needed even where the network is only looked at on the meta device
            self.schedule = SCHEDULES.build(schedule, T=T)
        self.mean, self.std = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(std))

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        t = (timestep.double() + 1) / self.schedule.T
        alpha, sigma = per_image(self.schedule.alpha(t), x), per_image(self.schedule.sigma(t), x)
        return sigma * (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
