"""`replicate bench`: what sampling costs over its bare passes, latents against pixels, our Fréchet distance and a peer's.

All runs of a line use the same weights, batch and times, or the same features, and take turns, so that a machine that
slows down slows them all; figures are medians over the turns.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from replication.ddpm.diffusers_weights import from_diffusers
from replication.ddpm.unet import UNet
from replication.diffusion import Denoiser, sample
from replication.metrics.frechet import frechet_distance, resampled_fd
from replication.metrics.timing import Stopwatch, repeated
from replication.metrics.uncertainty import draw
from replication.noise import ImageNoise
from replication.registry import AUTOENCODERS, MODELS, SAMPLERS, SCHEDULES, SPACINGS
from replication.report.tables import markdown

TURNS = 7
STEPS = 20
LATENT_STEPS = 50
IMAGES, WIDTH = 5000, 2048  # of the Fréchet distance
DISTANCE_TURNS = 3
RESAMPLES = 200


def bench(device: torch.device) -> str:
    """Markdown tables: the sampling loop, latents against pixels, and the Fréchet distance from given features."""
    return "\n\n".join((bench_sampling(device), bench_latents(device), bench_distance(device)))


def bench_sampling(device: torch.device) -> str:
    """Milliseconds per image of the floor, of our loop, and of diffusers' pipeline, with ratios."""
    name, batch = ("ddpm-cifar10", 256) if device.type == "cuda" else ("ddpm-digits", 300)
    torch.manual_seed(0)
    network = MODELS.build(name)
    reference = _diffusers_unet(network)
    if reference is not None:
        network.load_state_dict(from_diffusers(reference.state_dict()))
        reference = reference.to(device).to(memory_format=torch.channels_last).eval()
    shape = (batch, network.in_channels, network.resolution, network.resolution)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    lines = []
    for sampler in ("ddim", "ancestral"):
        runs: dict[str, Callable[[], object]] = {
            "floor": lambda: _floor(network, shape, device),
            "loop": lambda sampler=sampler: _loop(network, sampler, shape, device),  # type: ignore[misc]
        }
        if reference is not None:
            runs["diffusers"] = _pipeline(reference, sampler, batch, device)
        lines.append([f"{name}, {sampler} x {STEPS}, batch {batch}", *_line(runs, batch, device)])
    columns = ["what", "floor, ms/image", "our loop", "over the floor", "diffusers' pipeline", "over the floor"]
    return markdown(columns, lines)


def bench_latents(device: torch.device) -> str:
    """Milliseconds per image of a pixel model, and of a latent one of equal width at f = 2 with decoding; the ratio."""
    if device.type == "cuda":
        batch, image = 256, (3, 32, 32)
        sizes = {"width": 128, "multipliers": [1, 2, 2, 2], "blocks": 2, "attention": [2], "heads": 1}
        first_stage: dict[str, Any] = {"width": 64}
    else:
        batch, image = 300, (1, 8, 8)
        sizes = {"width": 32, "multipliers": [1, 1], "blocks": 1, "attention": [2], "heads": 1, "groups": 8}
        first_stage = {"width": 32, "blocks": 1, "groups": 8, "image_channels": 1}
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
        "pixels": lambda: _loop(networks[image], "ddim", (batch, *image), device, LATENT_STEPS),
        "latents": lambda: _loop(networks[latent], "ddim", (batch, *latent), device, LATENT_STEPS),
        "decoding": torch.no_grad()(lambda: autoencoder.decode(torch.zeros(batch, *latent, device=device))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS):
        for name, work in runs.items():
            seconds[name] += repeated(work, device, repeats=1, warmups=1 if turn == 0 else 0)
    whole = [a + b for a, b in zip(seconds["latents"], seconds["decoding"], strict=True)]
    ratio = statistics.median(a / b for a, b in zip(seconds["pixels"], whole, strict=True))
    per_image = (f"{statistics.median(s) / batch * 1e3:.3f}" for s in (seconds["pixels"], whole, seconds["decoding"]))
    what = f"{'x'.join(map(str, image))}, DDIM x {LATENT_STEPS}, batch {batch}"
    columns = ["equal width, f = 2", "pixels, ms/image", "latents and decoding", "of it decoding", "ratio"]
    return markdown(columns, [[what, *per_image, f"{ratio:.2f}"]])


def bench_distance(device: torch.device) -> str:
    """Seconds of our FD and of torch-fidelity's from the same features, covariances included, and of an interval.

    torch-fidelity computes on the CPU, wherever the device is. Every resample of the interval is computed.
    """
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, WIDTH + 1) ** -0.5  # standard deviations that fall off, as those of real features do
    generated, reference = (spread * torch.randn(IMAGES, WIDTH, generator=generator).relu() for _ in range(2))
    values, real = generated.to(device), reference.to(device)
    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: frechet_distance(values, real),
        "torch-fidelity": lambda: _fidelity_distance(generated, reference),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    distances: dict[str, float] = {}
    for _ in range(DISTANCE_TURNS):
        for name, work in runs.items():
            with Stopwatch(device) as watch:
                distances[name] = work()
            seconds[name].append(watch.seconds)
    draws = draw([IMAGES], IMAGES, RESAMPLES, seed=0)
    with Stopwatch(device) as watch:
        resampled_fd([values], real, [distances["ours"]], draws)
    ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["torch-fidelity"], strict=True))
    line = [
        f"n = {IMAGES}, D = {WIDTH}, {torch.get_num_threads()} threads",
        *(f"{statistics.median(times):.2f}" for times in seconds.values()),
        f"{ratio:.2f}",
        f"{abs(distances['ours'] / distances['torch-fidelity'] - 1):.0e}",
        f"{watch.seconds:.0f}",
    ]
    columns = ["Fréchet distance", "ours, s", "torch-fidelity, s", "ratio", "relative difference"]
    return markdown([*columns, f"{RESAMPLES} resamples of ours, s"], [line])


def _fidelity_distance(generated: Tensor, reference: Tensor) -> float:
    fits = [fid_features_to_statistics(values) for values in (generated, reference)]
    return fid_statistics_to_metric(*fits, verbose=False)[KEY_METRIC_FID]


def _line(runs: dict[str, Callable[[], object]], batch: int, device: torch.device) -> list[str]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS):
        for name, work in runs.items():
            seconds[name] += repeated(work, device, repeats=1, warmups=1 if turn == 0 else 0)
    cells = [f"{statistics.median(seconds['floor']) / batch * 1e3:.3f}"]
    for name in ("loop", "diffusers"):
        if name not in seconds:
            cells += ["not installed", ""]
            continue
        ratios = [a / b for a, b in zip(seconds[name], seconds["floor"], strict=True)]
        cells += [f"{statistics.median(seconds[name]) / batch * 1e3:.3f}", f"{statistics.median(ratios) - 1:+.1%}"]
    return cells


@torch.no_grad()
def _floor(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
    x, timestep = torch.zeros(shape, device=device), torch.zeros(shape[0], device=device)
    for _ in range(STEPS):
        network(x, timestep, None)


def _loop(network: nn.Module, sampler: str, shape: tuple[int, ...], device: torch.device, steps: int = STEPS) -> Tensor:
    schedule = SCHEDULES.build("linear", T=1000)
    noise = ImageNoise(0, torch.arange(shape[0]), device)
    times = SPACINGS.build("uniform")(schedule, steps)
    return sample(Denoiser(network, schedule), SAMPLERS.build(sampler), times, noise.prior(shape), noise, clip="x0")


def _diffusers_unet(network: UNet) -> nn.Module | None:
    """diffusers' network of the same configuration, None where diffusers is not installed (it is in the dev extra)."""
    try:
        from diffusers import UNet2DModel
    except ImportError:
        return None
    return UNet2DModel(
        sample_size=network.resolution,
        in_channels=network.in_channels,
        out_channels=network.in_channels,
        block_out_channels=[network.width * m for m in network.multipliers],
        layers_per_block=network.blocks,
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in network.attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(network.attends)],
        norm_num_groups=network.groups,
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def _pipeline(unet: nn.Module, sampler: str, batch: int, device: torch.device) -> Callable[[], object]:
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    pipeline = DDIMPipeline(unet, DDIMScheduler()) if sampler == "ddim" else DDPMPipeline(unet, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=batch, num_inference_steps=STEPS, output_type="np")
