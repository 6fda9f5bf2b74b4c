"""What a training step sees as x_0: the images' pixels, or latents drawn anew from their moments.

Moments are what an encoder gives of an image. They are computed once, kept on disk, and memory-mapped from there; latents
are not kept, since each use of an image draws another one from its posterior.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from replication.checkpoint import Corrupt, Streamed, load_checkpoint, save_checkpoint
from replication.datasets.dataset import Dataset, Split, Whole
from replication.deadline import NEVER, Deadline
from replication.files import locked, set_aside
from replication.ldm.autoencoder import Autoencoder
from replication.numerics import numerics
from replication.pixels import to_signed
from replication.progress import Bar
from replication.settings import content_key
from replication.training.processes import in_layout_of
from replication.training.settings import Training

RESIDENT_BYTES = 16 << 30  # a split up to this size lies on the device; of a larger one, each batch is moved there
ENCODED = 256  # images at a time
BEGINNING = 8 * ENCODED  # images that show how long all of them take
MOMENTS = "moments"  # the tensor of a file of the cache


class TrainingData(ABC):
    """Labelled examples; labels Int[N] lie on the device that batches come on. `encoder`: SHA-256 of the one behind latents."""

    encoder: str | None = None

    def __init__(self, content: Tensor, labels: Tensor, device: torch.device):
        fits = content.numel() * content.element_size() <= RESIDENT_BYTES
        self.content, self.labels, self.device = content.to(device) if fits else content, labels.to(device), device

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def batch(self, chosen: Tensor, flip: bool, used: Tensor | None = None) -> Tensor:
        """x_0 of the examples chosen, Int[B], on the device: Float[B,C,H,W]; each mirrored or not by a coin with `flip`.

        It draws from torch's own generator, which the training seeds for every step. `used`, Int[b]: the rows that are looked
        at, by default all; expensive work is skipped for other rows; random draws are the same.
        """

    def _rows(self, chosen: Tensor) -> Tensor:
        return self.content[chosen.to(self.content.device)].to(self.device)


class Pixels(TrainingData):
    """Content: uint8 [N,C,H,W]; x_0 in [-1, 1]."""

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Pixels":
        return cls(split.images, split.labels, device)

    def batch(self, chosen: Tensor, flip: bool, used: Tensor | None = None) -> Tensor:
        x0 = to_signed(self._rows(chosen))
        x0 = x0.contiguous(memory_format=torch.channels_last)
        return torch.where(_coin(len(x0), x0.device), x0.flip(-1), x0) if flip else x0


class Windows(Pixels):
    """Of photographs that are kept whole; each use of one sees another window, cut at random."""

    def __init__(self, whole: Whole, side: int, device: torch.device):
        super().__init__(whole.content, whole.labels, device)
        self.whole, self.side = replace(whole, content=self.content), side

    def _rows(self, chosen: Tensor) -> Tensor:
        return self.whole.windows(chosen.cpu(), torch.rand(len(chosen), 2), self.side).to(self.device)


def images_of(dataset: Dataset, training: Training, device: torch.device) -> Pixels:
    """What a training sees of a dataset: the squares, or windows out of its photographs."""
    if shorter := training.shorter_side(dataset):
        return Windows(dataset.kept_whole(shorter).photographs("train"), dataset.resolution, device)
    return Pixels.of(dataset.load("train"), device)


class Encoded(TrainingData):
    """Latents of images that are never the same twice, encoded at each use."""

    def __init__(self, images: Pixels, autoencoder: Autoencoder, encoder: str):
        super().__init__(images.content, images.labels, images.device)
        self.images, self.autoencoder, self.encoder = images, autoencoder, encoder

    def batch(self, chosen: Tensor, flip: bool, used: Tensor | None = None) -> Tensor:
        x = self.images.batch(chosen, flip)
        moments = _moments(self.autoencoder, x if used is None else x[used])
        if used is not None:  # what is drawn below follows the shape of the whole batch, and its order in memory
            whole = in_layout_of(moments, moments.new_zeros(len(x), *moments.shape[1:]))
            moments = whole.index_copy(0, used.to(x.device), moments)
        noise = torch.randn_like(self.autoencoder.latent(moments))
        return self.autoencoder.latent(moments, noise).contiguous(memory_format=torch.channels_last)


class Latents(TrainingData):
    """Content: the moments of N images [N,m,h,w], and where mirrored ones are wanted, of their N mirror images after them.

    The posterior is sampled, not its mode taken: Rombach et al. 2022, appendix G, and the official code.
    """

    def __init__(self, content: Tensor, labels: Tensor, device: torch.device, autoencoder: Autoencoder, encoder: str):
        super().__init__(content, labels, device)
        self.autoencoder, self.encoder = autoencoder, encoder
        self.shape = autoencoder.latent(content[:1].to(device)).shape[1:]  # [c,h,w]

    def batch(self, chosen: Tensor, flip: bool, used: Tensor | None = None) -> Tensor:
        if flip:
            chosen = chosen + len(self) * _coin(len(chosen), self.device).flatten().to(chosen)
        moments = self._rows(chosen)
        noise = torch.randn(len(moments), *self.shape, device=self.device)
        return self.autoencoder.latent(moments, noise).contiguous(memory_format=torch.channels_last)


def _coin(n: int, device: torch.device) -> Tensor:
    """True for about half of n images, Bool[n,1,1,1]."""
    return torch.rand(n, 1, 1, 1, device=device) < 0.5


def cached_moments(
    split: Split,
    autoencoder: Autoencoder,
    encoder: str,
    folder: Path,
    device: torch.device,
    mirrored: bool = False,
    progress: bool = True,
    deadline: Deadline = NEVER,
) -> Tensor:
    """Moments float32 [N,m,h,w] of a split's images, backed by a memory map; with `mirrored`, [2N,m,h,w].

    The images' fingerprint and `encoder`, the SHA-256 of the autoencoder's, name the file in `folder`. A damaged file is set
    aside and computed anew. Raises RunError where it can't be written, and OutOfTime where the pace of its beginning says that
    it would not end by the deadline.
    """
    images = split.images
    key = content_key({"images": split.fingerprint, "encoder": encoder, "mirrored": mirrored})
    path = folder / f"{key}.safetensors"
    of_one = _moments(autoencoder, to_signed(images[:1].to(device))).shape[1:]  # [m,h,w]
    shape = (len(images) * (2 if mirrored else 1), *of_one)

    def encoded() -> Iterator[Tensor]:
        with Bar(shape[0], "encoding", "image", enabled=progress) as shown:
            for rows in torch.arange(shape[0]).split(ENCODED):
                x = to_signed(images[rows % len(images)].to(device))
                # an index from N on is the mirror image of that index less N
                x = torch.where((rows >= len(images)).to(device)[:, None, None, None], x.flip(-1), x)
                yield _moments(autoencoder, x)
                shown.update(len(rows))
                if (done := int(rows[-1]) + 1) == len(rows):  # the first ones look for the fastest kernels
                    begun = time.monotonic()
                elif done <= BEGINNING:
                    pace = (time.monotonic() - begun) / (done - ENCODED)
                    deadline.require(pace * (shape[0] - done), f"encoding {shape[0]:,} images")

    with locked(path.with_suffix(".lock"), "the cache of latents"):
        while (found := _mapped(path, shape)) is None:
            save_checkpoint(path, {MOMENTS: Streamed(shape, torch.float32, encoded())}, {})
    return found


def encoder_sha256(autoencoder: Autoencoder) -> str:
    """SHA-256 of all that fixes an image's latents, the scale included: another decoder has no part in it."""
    digest = hashlib.sha256(f"{type(autoencoder).__qualname__} {autoencoder.version}".encode())
    tensors = autoencoder.state_dict() | {"scale": autoencoder.scale}
    for name, tensor in sorted(tensors.items()):
        if name.split(".")[0] not in autoencoder.decoder_parts:
            content = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {content.dtype} {list(content.shape)}".encode())
            digest.update(content.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The moments that the file was written with, to be read where they are used; None if they are not there."""
    if not path.exists():
        return None
    try:
        tensors, _ = load_checkpoint(path)
    except Corrupt as error:
        set_aside(path, str(error))
        return None
    if (found := tensors.get(MOMENTS)) is None or found.shape != shape:
        set_aside(path, f"it holds {[list(tensor.shape) for tensor in tensors.values()]}, not {list(shape)}")
        return None
    return found


@torch.no_grad()
def _moments(autoencoder: Autoencoder, x: Tensor) -> Tensor:
    """In IEEE float32, whatever the diffusion model is trained in, which is no part of the file's name."""
    with numerics("float32", x.device):
        return autoencoder.moments(x).float()
