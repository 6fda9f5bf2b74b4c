"""The moments that an encoder gives of every image of a split, computed once, kept on disk and memory-mapped from there.

Moments are kept, not latents: a latent is drawn from them anew each time that an image is trained on.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from replication.files import locked, replaced
from replication.ldm.autoencoder import Autoencoder
from replication.numerics import numerics
from replication.pixels import to_signed
from replication.progress import bar
from replication.settings import content_key

BATCH = 256


def cached_moments(
    images: Tensor,
    autoencoder: Autoencoder,
    folder: Path,
    *,
    fingerprint: str,
    encoder: str,
    mirrored: bool,
    device: torch.device,
    progress: bool = True,
) -> Tensor:
    """Moments float32 [N,m,h,w] of uint8 images [N,C,H,W], backed by a memory map; with `mirrored`, [2N,m,h,w].

    `fingerprint` identifies the images, `encoder` (SHA-256) the first stage's; they name the file in `folder`. A damaged
    file is computed anew with a warning. Raises RunError where it can't be written.
    """
    identity = {"images": fingerprint, "encoder": encoder, "mirrored": mirrored}
    path = folder / f"{content_key(identity)}.npy"
    of_one = _moments(autoencoder, to_signed(images[:1].to(device))).shape[1:]  # [m,h,w]
    shape = (len(images) * (2 if mirrored else 1), *of_one)
    with locked(path.with_suffix(".lock"), "the cache of latents"):
        found = _mapped(path, shape)
        if found is None:
            with replaced(path) as partial:
                _write(partial, images, autoencoder, shape, device, progress)
            found = _mapped(path, shape)
            assert found is not None
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
    """The file as a tensor that is read where it is used; None if there is none, or not this one."""
    if not path.exists():
        return None
    try:
        content = np.load(path, mmap_mode="c", allow_pickle=False)  # copy on write: torch wants a writable array
        if content.shape != shape or content.dtype != np.float32:
            raise ValueError(f"it holds {content.dtype} {list(content.shape)}, not float32 {list(shape)}")
    except (ValueError, OSError, EOFError) as error:
        warnings.warn(f"{path}: {error}; the latents are computed anew", stacklevel=3)
        return None
    return torch.from_numpy(content)


def _write(
    path: Path,
    images: Tensor,
    autoencoder: Autoencoder,
    shape: tuple[int, ...],
    device: torch.device,
    progress: bool,
) -> None:
    """One batch after the other: a full disk is an error of a write, and would be the end of a process that writes a map."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with open(path, "wb") as file, bar(shape[0], "encoding", "image", enabled=progress) as shown:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], BATCH):
            # an index from N on is the mirror image of that index less N
            rows = torch.arange(start, min(start + BATCH, shape[0]))
            x = to_signed(images[rows % len(images)].to(device))
            x = torch.where((rows >= len(images)).to(device)[:, None, None, None], x.flip(-1), x)
            file.write(_moments(autoencoder, x).cpu().numpy().astype("<f4").tobytes())
            shown.update(len(rows))


@torch.no_grad()
def _moments(autoencoder: Autoencoder, x: Tensor) -> Tensor:
    """In IEEE float32, whatever the diffusion model is trained in: the key does not say it."""
    with numerics("float32", x.device):
        return autoencoder.moments(x).float()
