"""What the sampling loop costs over its bare forward passes, beside diffusers' pipeline; latents against pixels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from replication.bench.peers import diffusers_unet
from replication.bench.turns import in_turns, milliseconds, ratio
from replication.ddpm.published_weights import from_diffusers
from replication.diffusion import Denoiser, sample
from replication.noise import ImageNoise
from replication.registry import AUTOENCODERS, MODELS, SAMPLERS, SCHEDULES, SPACINGS
from replication.report.tables import markdown

TURNS = 7
STEPS = 20
LATENT_STEPS = 50


def bench_sampling(device: torch.device) -> str:
    """Milliseconds per image of the floor, of our loop, and of diffusers' pipeline, with ratios."""
    name, batch = ("ddpm-cifar10", 256) if device.type == "cuda" else ("ddpm-digits", 300)
    torch.manual_seed(0)
    network = MODELS.build(name)
    reference = diffusers_unet(network)
    if reference is not None:
        network.load_state_dict(from_diffusers(reference.state_dict(), network))
        reference = _ready(reference, device)
    shape = (batch, network.in_channels, network.resolution, network.resolution)
    network = _ready(network, device)
    lines = []
    for sampler in ("ddim", "ancestral"):
        runs: dict[str, Callable[[], object]] = {
            "floor": lambda: _floor(network, shape, device),
            "loop": lambda sampler=sampler: _loop(network, sampler, shape, device, STEPS),  # type: ignore[misc]
        }
        if reference is not None:
            runs["diffusers"] = _pipeline(reference, sampler, batch, device)
        lines.append([f"{name}, {sampler} x {STEPS}, batch {batch}", *_line(runs, batch, device)])
    columns = ["what", "floor, ms/image", "our loop", "over the floor", "diffusers' pipeline", "over the floor"]
    return markdown(columns, lines)


def _line(runs: dict[str, Callable[[], object]], batch: int, device: torch.device) -> list[str]:
    seconds = in_turns(runs, device, TURNS)
    cells = [f"{milliseconds(seconds['floor'], batch):.3f}"]
    for name in ("loop", "diffusers"):
        taken = seconds.get(name)
        over = f"{ratio(taken, seconds['floor']) - 1:+.1%}" if taken else ""
        cells += [f"{milliseconds(taken, batch):.3f}" if taken else "not installed", over]
    return cells


@torch.no_grad()
def _floor(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
    x, timestep = torch.zeros(shape, device=device), torch.zeros(shape[0], device=device)
    for _ in range(STEPS):
        network(x, timestep, None)


def _loop(network: nn.Module, sampler: str, shape: tuple[int, ...], device: torch.device, steps: int) -> Tensor:
    """The loop as a cell runs it: x_0 [B,C,H,W] = shape, of noise."""
    schedule = SCHEDULES.build("linear", T=1000)
    noise = ImageNoise(0, torch.arange(shape[0]), device)
    times = SPACINGS.build("uniform")(schedule, steps)
    return sample(Denoiser(network, schedule), SAMPLERS.build(sampler), times, noise.prior(shape), noise, clip="x0")


def _pipeline(unet: nn.Module, sampler: str, batch: int, device: torch.device) -> Callable[[], object]:
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    pipeline = DDIMPipeline(unet, DDIMScheduler()) if sampler == "ddim" else DDPMPipeline(unet, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=batch, num_inference_steps=STEPS, output_type="np")


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
        shape: _ready(MODELS.build("ldm-unet", resolution=shape[1], channels=shape[0], **sizes), device)
        for shape in (image, latent)
    }
    runs: dict[str, Callable[[], Tensor]] = {
        "pixels": lambda: _loop(networks[image], "ddim", (batch, *image), device, LATENT_STEPS),
        "latents": lambda: _loop(networks[latent], "ddim", (batch, *latent), device, LATENT_STEPS),
        "decoding": torch.no_grad()(lambda: autoencoder.decode(torch.zeros(batch, *latent, device=device))),
    }
    seconds = in_turns(runs, device, TURNS)
    whole = [a + b for a, b in zip(seconds["latents"], seconds["decoding"], strict=True)]
    per_image = [f"{milliseconds(s, batch):.3f}" for s in (seconds["pixels"], whole, seconds["decoding"])]
    what = f"{'x'.join(map(str, image))}, DDIM x {LATENT_STEPS}, batch {batch}"
    columns = ["equal width, f = 2", "pixels, ms/image", "latents and decoding", "of it decoding", "ratio"]
    return markdown(columns, [[what, *per_image, f"{ratio(seconds['pixels'], whole):.2f}"]])


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).to(memory_format=torch.channels_last).eval()
