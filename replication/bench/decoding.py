"""Decoding latents, beside diffusers with the same weights; and whether latents pay: with their decoding, beside pixels."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from replication.bench.networks import FLOAT
from replication.bench.peers import BEST, DEFAULTS, compiled, diffusers_decoder, evaluation, missing, plain, ready
from replication.bench.sampling import PRECISION, Loop, run_loop
from replication.bench.turns import Run, Task, Work, apart
from replication.cost import counted
from replication.ldm.autoencoder import Autoencoder
from replication.ldm.published_weights import first_stage_from_diffusers
from replication.registry import AUTOENCODERS, MODELS
from replication.report.speed import OURS

DECODED = {"cuda": (8, 32), "cpu": (1, 16)}  # latents of kl-f8 at a time, and their side
WIDTH = 128  # Stable Diffusion's
PIXELS = "pixels at equal width"
LATENT_STEPS = 50
IMAGE = {"cuda": (3, 32, 32), "cpu": (1, 8, 8)}


def decoding(device: torch.device) -> list[Task]:
    """The decoder of Stable Diffusion's first stage; and sampling at f = 2 with decoding, beside sampling pixels."""
    (batch, side), image = DECODED[device.type], IMAGE[device.type]
    return [
        Task(
            f"kl-f8, {8 * side}x{8 * side}, batch {batch}, {PRECISION[device.type]}",
            partial(_decoding, batch, side, device),
        ),
        Task(
            f"{'x'.join(map(str, image))} at f = 2, ddim x {LATENT_STEPS} and decoding",
            partial(_latents, image, device),
        ),
    ]


def _decoding(batch: int, side: int, device: torch.device) -> Work:
    torch.manual_seed(0)
    autoencoder: Autoencoder = AUTOENCODERS.build("kl-f8", width=WIDTH, scaling="none")
    precision = PRECISION[device.type]
    z, peer = torch.randn(batch, 4, side, side, device=device), diffusers_decoder(WIDTH)
    runs: dict[str, Run] = {
        OURS: evaluation(ready(autoencoder, device).requires_grad_(False).decode, precision, device, z)
    }
    notes = {}
    if peer is not None:
        autoencoder.load_state_dict(first_stage_from_diffusers(peer.state_dict(), autoencoder))
        runs[DEFAULTS] = evaluation(plain(peer, device).decode, None, device, z)
        runs[BEST] = evaluation(compiled(ready(peer, device).decode, device), precision, device, z)
        notes["largest difference"] = lambda _: apart(runs[OURS](), runs[BEST]().sample)
    with torch.device("meta"):
        work = counted(partial(AUTOENCODERS.build("kl-f8", width=WIDTH).decode, torch.empty(1, 4, side, side))).work
    parts = [getattr(autoencoder, part) for part in autoencoder.decoder_parts if hasattr(autoencoder, part)]
    weights = sum(p.numel() for part in parts for p in part.parameters())
    touched = FLOAT * (weights + z.numel() * (1 + 3 * 64 / 4))
    return Work(runs, work.multiply_adds * batch, touched, batch, precision, missing=missing(peer), notes=notes)


def _latents(image: tuple[int, int, int], device: torch.device) -> Work:
    first_stage: dict[str, Any]
    if device.type == "cuda":
        batch = 256
        sizes = {"width": 128, "multipliers": [1, 2, 2, 2], "blocks": 2, "attention": [2], "heads": 1}
        first_stage = {"width": 64}
    else:
        batch = 300
        sizes = {"width": 32, "multipliers": [1, 1], "blocks": 1, "attention": [2], "heads": 1, "groups": 8}
        first_stage = {"width": 32, "multipliers": [1, 1], "blocks": 1, "groups": 8, "image_channels": 1}
    torch.manual_seed(0)
    autoencoder: Autoencoder = ready(AUTOENCODERS.build("kl-f2", **first_stage, scaling="none"), device)
    autoencoder.requires_grad_(False)
    latent = autoencoder.latent_shape(image)
    networks = {
        shape: ready(MODELS.build("ldm-unet", resolution=shape[1], channels=shape[0], **sizes), device)
        for shape in (image, latent)
    }

    def sampled(shape: tuple[int, int, int]) -> Tensor:
        loop = Loop("ldm-unet", batch, "ddim", LATENT_STEPS)
        return run_loop(networks[shape], loop, (batch, *shape), device)

    runs: dict[str, Run] = {
        OURS: evaluation(lambda: autoencoder.decode(sampled(latent).float()), PRECISION[device.type], device),
        PIXELS: lambda: sampled(image),
    }
    return Work(runs, images=batch)
