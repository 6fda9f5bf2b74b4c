"""Latents against pixels: the same images by networks of equal width, at f = 2, decoding included."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from replication.bench.sampling import loop
from replication.bench.turns import in_turns
from replication.registry import AUTOENCODERS, MODELS
from replication.report.tables import markdown

TURNS = 7
STEPS = 50


def bench_latents(device: torch.device) -> str:
    """Milliseconds per image of a pixel model, and of a latent one of equal width at f = 2 with decoding; the ratio."""
    if device.type == "cuda":
        batch, image = 256, (3, 32, 32)
        sizes = {"width": 128, "multipliers": [1, 2, 2, 2], "blocks": 2, "attention": [2], "heads": 1}
        first_stage: dict[str, Any] = {"width": 64}
    else:
        batch, image = 300, (1, 8, 8)
        sizes = {"width": 32, "multipliers": [1, 1], "blocks": 1, "attention": [2], "heads": 1, "groups": 8}
        first_stage = {"width": 32, "multipliers": [1, 1], "blocks": 1, "groups": 8, "image_channels": 1}
    torch.manual_seed(0)
    autoencoder = AUTOENCODERS.build("kl-f2", **first_stage, scaling="none").to(device).eval()
    latent = autoencoder.latent_shape(image)
    networks = {
        shape: MODELS.build("ldm-unet", resolution=shape[1], channels=shape[0], **sizes)
        .to(device)
        .to(memory_format=torch.channels_last)
        .eval()
        for shape in (image, latent)
    }
    runs: dict[str, Callable[[], Tensor]] = {
        "pixels": lambda: loop(networks[image], "ddim", (batch, *image), device, STEPS),
        "latents": lambda: loop(networks[latent], "ddim", (batch, *latent), device, STEPS),
        "decoding": torch.no_grad()(lambda: autoencoder.decode(torch.zeros(batch, *latent, device=device))),
    }
    seconds = in_turns(runs, device, TURNS)
    whole = [a + b for a, b in zip(seconds["latents"], seconds["decoding"], strict=True)]
    ratio = statistics.median(a / b for a, b in zip(seconds["pixels"], whole, strict=True))
    per_image = (f"{statistics.median(s) / batch * 1e3:.3f}" for s in (seconds["pixels"], whole, seconds["decoding"]))
    what = f"{'x'.join(map(str, image))}, DDIM x {STEPS}, batch {batch}"
    columns = ["equal width, f = 2", "pixels, ms/image", "latents and decoding", "of it decoding", "ratio"]
    return markdown(columns, [[what, *per_image, f"{ratio:.2f}"]])
