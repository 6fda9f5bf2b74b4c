"""What a training step sees as x_0: the images' pixels, or latents drawn anew from their moments."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from replication.datasets.dataset import Split
from replication.ldm.autoencoder import Autoencoder
from replication.pixels import to_signed

RESIDENT_BYTES = 16 << 30  # a split up to this size lies on the device; of a larger one, each batch is moved there


class TrainingData(ABC):
    """Labelled examples; labels Int[N] lie on the device that batches come on. `encoder`: SHA-256 of the one behind latents."""

    encoder: str | None = None

    def __init__(self, content: Tensor, labels: Tensor, device: torch.device):
        fits = content.numel() * content.element_size() <= RESIDENT_BYTES
        self.content, self.labels, self.device = content.to(device) if fits else content, labels.to(device), device

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def batch(self, chosen: Tensor, flip: bool) -> Tensor:
        """x_0 of the examples chosen, Int[B], on the device: Float[B,C,H,W]; each mirrored or not by a coin with `flip`.

        It draws from torch's own generator, which the training seeds for every step.
        """

    def _rows(self, chosen: Tensor) -> Tensor:
        return self.content[chosen.to(self.content.device)].to(self.device)


class Pixels(TrainingData):
    """Content: uint8 [N,C,H,W]; x_0 in [-1, 1]."""

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Pixels":
        return cls(split.images, split.labels, device)

    def batch(self, chosen: Tensor, flip: bool) -> Tensor:
        x0 = to_signed(self._rows(chosen))
        x0 = x0.contiguous(memory_format=torch.channels_last)
        return torch.where(_coin(len(x0), x0.device), x0.flip(-1), x0) if flip else x0


class Latents(TrainingData):
    """Content: the moments of N images [N,m,h,w], and where mirrored ones are wanted, of their N mirror images after them.

    The posterior is sampled, not its mode taken: Rombach et al. 2022, appendix G, and the official code.
    """

    def __init__(self, content: Tensor, labels: Tensor, device: torch.device, autoencoder: Autoencoder, encoder: str):
        super().__init__(content, labels, device)
        self.autoencoder, self.encoder = autoencoder, encoder
        self.shape = autoencoder.latent(content[:1].to(device)).shape[1:]  # [c,h,w]

    def batch(self, chosen: Tensor, flip: bool) -> Tensor:
        if flip:
            chosen = chosen + len(self) * _coin(len(chosen), self.device).flatten().to(chosen)
        moments = self._rows(chosen)
        noise = torch.randn(len(moments), *self.shape, device=self.device)
        return self.autoencoder.latent(moments, noise).contiguous(memory_format=torch.channels_last)


def _coin(n: int, device: torch.device) -> Tensor:
    """True for about half of n images, Bool[n,1,1,1]."""
    return torch.rand(n, 1, 1, 1, device=device) < 0.5
