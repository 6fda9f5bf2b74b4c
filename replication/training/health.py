"""Whether a first stage is still learning: two ways in which it fails although every number is finite.

Judged once per window of some steps. Each needs several bad windows in a row, so that no single batch decides.
"""

import torch
from torch import Tensor, nn

from replication.training.processes import ALONE, Processes

# A codebook has collapsed when hardly any of its codes occurred. Large ones work with a few per cent of their codes in
# use (VQGAN's 16,384, from memory), and every one starts with a handful: hence a low bound and much patience.
COLLAPSED_SHARE = 0.02  # of the codes that could have occurred; one code alone always counts as collapsed
COLLAPSED_WINDOWS = 20

# A discriminator has won when nearly every patch lies beyond its margin, so that it has no gradient left, while the
# reconstruction has become worse than it once was. Either alone is harmless: a good reconstruction may still be
# recognised as one, and it may give up some pixels for patches that convince.
WON_LOSS = 0.05  # hinge loss, 1 at chance
WORSE = 1.25  # times the best window's reconstruction loss
WON_WINDOWS = 10


class Health(nn.Module):
    """Sums over the window so far, kept on the device, and how many windows in a row were bad: buffers of a snapshot.

    windows: of the whole training; patience is at most half of them, so that a short one can fail too. `processes` that train
    together have the same sums, and judge alike.
    """

    counts: Tensor
    sums: Tensor
    past: Tensor

    def __init__(self, codes: int, device: torch.device, windows: int, processes: Processes = ALONE):
        super().__init__()
        self.processes = processes
        half = max(1, windows // 2)
        self.collapsed_windows, self.won_windows = min(COLLAPSED_WINDOWS, half), min(WON_WINDOWS, half)
        self.register_buffer("counts", torch.zeros(codes, dtype=torch.int64, device=device))
        # reconstruction, steps; discriminator, its steps
        self.register_buffer("sums", torch.zeros(4, dtype=torch.float64, device=device))
        # collapsed, won, best reconstruction
        self.register_buffer("past", torch.tensor([0.0, 0.0, torch.inf], dtype=torch.float64))

    @torch.no_grad()
    def add(self, codes: Tensor | None, reconstruction: Tensor, discriminator: Tensor | None) -> None:
        """One step: codes Int[B,h,w], reconstruction loss [], discriminator's loss [] once it exists: of several processes
        those whose mean is the batch's.
        """
        if codes is not None:
            codes = codes.flatten()
            # bincount would wait for the device
            self.counts += self.processes.total(
                torch.zeros_like(self.counts).scatter_add_(0, codes, torch.ones_like(codes))
            )
        self.sums[0] += self.processes.mean(reconstruction)
        self.sums[1] += 1
        if discriminator is not None:
            self.sums[2] += self.processes.mean(discriminator)
            self.sums[3] += 1

    @property
    def suspicious(self) -> bool:
        """Whether the last window was bad."""
        return bool(self.past[:2].any())

    def judge(self) -> str | None:
        """End the window; what has gone wrong for too long, or None."""
        collapsed, won, best = self.past.tolist()
        reconstruction, steps, loss, adversarial = self.sums.tolist()
        used, drawn, mean = int((self.counts > 0).sum()), int(self.counts.sum()), reconstruction / steps
        few = len(self.counts) > 0 and used <= max(1.0, COLLAPSED_SHARE * min(len(self.counts), drawn))
        fooled = adversarial > 0 and loss / adversarial < WON_LOSS and mean > WORSE * best
        collapsed, won, best = (collapsed + 1 if few else 0), (won + 1 if fooled else 0), min(best, mean)
        self.past = torch.tensor([collapsed, won, best], dtype=torch.float64)
        self.counts.zero_()
        self.sums.zero_()
        if collapsed >= self.collapsed_windows:
            share = used / len(self.counts)
            return f"the codebook has collapsed: {share:.2%} of its codes are used; a smaller codebook may help"
        if won >= self.won_windows:
            return (
                f"the discriminator has won: its loss is {loss / adversarial:.3f} and the reconstruction loss {mean:.4f}, "
                f"which was {best:.4f}; a later discriminator_start or a smaller discriminator_weight may help"
            )
        return None
